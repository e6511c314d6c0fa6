"""Rows of the tables of tasks as `Task`s, with all or a part of large values."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any

from celery.states import EXCEPTION_STATES, PROPAGATE_STATES, STARTED, SUCCESS
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    Select,
    Table,
    case,
    func,
    literal,
    null,
    select,
)

from cadasta.workertoolbox.results._arguments.cut_json import decode_beginning
from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import read_instant
from cadasta.workertoolbox.results._database.view import live, tasks
from cadasta.workertoolbox.results._task import Task

#: Bytes that are read of a result, and of a failure, for display: enough for the
#: characters that `tasks show` prints, which may take twelve bytes each in JSON.
SHOWN_BYTES = 1024
SHOWN_FAILURE_BYTES = 16 * 1024

#: Bytes that are read of a result for a page: as many as the history keeps by default.
MAX_BYTES = 64 * 1024

#: Columns that may hold megabytes, besides the result.
LARGE = ("args", "kwargs", "traceback")


class Detail(Enum):
    """How much is read of large values."""

    #: Everything.
    WHOLE = "whole"

    #: Everything, but of a large result only the beginning, and its size.
    LIMITED = "limited"

    #: The beginning of results; neither arguments nor tracebacks.
    SHORTENED = "shortened"

    #: The same, but no results of tasks that succeeded, and nothing about senders.
    OUTLINE = "outline"

    #: No arguments, results and tracebacks.
    BRIEF = "brief"

    @classmethod
    def of(
        cls,
        *,
        brief: bool = False,
        shortened: bool = False,
        outline: bool = False,
        limited: bool = False,
    ) -> Detail:
        """Return what the arguments of `TaskStore`'s methods ask for."""
        if brief:
            return cls.BRIEF
        if outline:
            return cls.OUTLINE
        if shortened:
            return cls.SHORTENED
        return cls.LIMITED if limited else cls.WHOLE


#: Columns about the sender of a task.
SENDER = ("origin", "service", "schedule", "headers", "arguments")

#: Columns that are left out.
_LEFT_OUT = {
    Detail.SHORTENED: LARGE,
    Detail.OUTLINE: (*LARGE, *SENDER, "result_bytes"),
    Detail.BRIEF: LARGE,
}

#: With these, only the beginning of a result is read.
_CUT = (Detail.SHORTENED, Detail.OUTLINE)

#: Columns that tasks have as they are read.
_COLUMNS = (*(each.name for each in tasks.c if each.name != "result"), "result_bytes")

#: Columns from which their results are made.
_OTHERS = ("encoded_result", "not_run", "is_long")

#: Columns with times.
_INSTANTS = ("scheduled_at", "eta", "started_at", "finished_at")

#: Functions that set the attributes of a new task. The constructor of a frozen class
#: takes several times as long, which counts in workflows with thousands of tasks.
_SETTERS = {name: getattr(Task, name).__set__ for name in (*_COLUMNS, "result")}


@cache
def select_tasks(table: Table, detail: Detail, dialect: str) -> Select[Any]:
    """Return the query for all tasks in a table: that of live ones, or the history.

    The view shows results as `jsonb`, which cannot represent everything that Python's
    JSON can, such as NaN. Therefore they are read as they are stored.
    """
    left_out = _LEFT_OUT.get(detail, ())
    columns: list[ColumnElement[Any]] = [
        null().label(name) if name in left_out else table.c[name] for name in _COLUMNS
    ]
    if detail is Detail.BRIEF:
        return select(*columns, *(null().label(name) for name in _OTHERS))
    result = taskmeta.c.result if table is live else table.c.result
    others: list[ColumnElement[Any]] = [result, table.c.not_run, null()]
    if detail is not Detail.WHOLE:
        limit = _limit(table, detail)
        is_long = func.length(result) > limit
        others[0] = func.substr(result, 1, limit, type_=LargeBinary)
        if dialect == "sqlite" and table is live:
            # `substr` would read the whole result into the memory of this process.
            others[0] = case((is_long, null()), else_=result)
            others[2] = is_long
        if detail is Detail.LIMITED:
            size = case((is_long, func.length(result)))
            known = func.coalesce(table.c.result_bytes, size)
            columns[_COLUMNS.index("result_bytes")] = known.label("result_bytes")
    if detail is Detail.OUTLINE:
        is_success = table.c.status == SUCCESS
        others[0] = case((is_success, null()), else_=others[0])
        others[2] = case((is_success, null()), else_=others[2])
    labelled = (each.label(name) for each, name in zip(others, _OTHERS, strict=True))
    query = select(*columns, *labelled)
    if table is live:
        same = live.c.id == taskmeta.c.task_id
        query = query.join_from(live, taskmeta, same, isouter=True)
    return query


def _limit(table: Table, detail: Detail) -> ColumnElement[int]:
    """Return how many bytes of a result are read."""
    if detail is Detail.LIMITED:
        return literal(MAX_BYTES)
    is_failure = table.c.status.in_(sorted(EXCEPTION_STATES))
    return case((is_failure, SHOWN_FAILURE_BYTES), else_=SHOWN_BYTES)


def new_task(values: Mapping[str, Any]) -> Task:
    """Return a task of which only these attributes are known; the others are None."""
    task = object.__new__(Task)
    for name, put in _SETTERS.items():
        put(task, values.get(name))
    return task


def make_task(connection: Connection, row: Row[Any], detail: Detail) -> Task:
    """Return the task in a row of `select_tasks` with the same detail."""
    # A query for tasks begins with these columns; the encoded result is the next one.
    number = len(_COLUMNS)
    encoded, not_run, is_long = row[number : number + len(_OTHERS)]
    task = object.__new__(Task)
    for put, value in zip(_SETTERS.values(), row, strict=False):
        put(task, value)
    if is_long:
        limit = MAX_BYTES if detail is Detail.LIMITED else SHOWN_FAILURE_BYTES
        encoded = _read_beginning(connection, task.id, limit)
    if not_run is not None and task.status in PROPAGATE_STATES:
        _SETTERS["result"](task, not_run)
        _SETTERS["result_bytes"](task, None)
        return task
    is_cut = detail in _CUT or task.result_bytes is not None
    _SETTERS["result"](task, _result(encoded, task.status, is_cut))
    return task


def make_ended(rows: Sequence[Sequence[Any]]) -> Sequence[Task]:
    """Return the tasks in rows of `select_tasks` for the outline of the history.

    It does the same as `make_task`, column by column, in a fourth of the time.

    Args:
        rows: As the driver returns them, with times that are not converted yet.
    """
    tasks = [object.__new__(Task) for _ in rows]
    columns = [*zip(*rows, strict=True)]
    for (name, put), column in zip(_SETTERS.items(), columns, strict=False):
        values = map(read_instant, column) if name in _INSTANTS else column
        deque(map(put, tasks, values), maxlen=0)
    put_result = _SETTERS["result"]
    number = len(_COLUMNS)
    for task, row in zip(tasks, rows, strict=True):
        encoded, not_run = row[number : number + 2]
        if not_run is None or task.status not in PROPAGATE_STATES:
            put_result(task, encoded and _result(encoded, task.status, True))
        else:
            put_result(task, not_run)
    return tasks


def _read_beginning(connection: Connection, id: str, limit: int) -> bytes:
    """Read the beginning of a result in SQLite."""
    number = connection.scalar(select(taskmeta.c.id).where(taskmeta.c.task_id == id))
    driver: Any = connection.connection.driver_connection
    with driver.blobopen(taskmeta.name, "result", number, readonly=True) as blob:
        return bytes(blob.read(limit))


def _result(encoded: bytes | None, status: str, is_cut: bool) -> Any:
    if encoded is None or status == STARTED:
        return None
    encoded = bytes(encoded)
    is_beginning = is_cut and len(encoded) >= SHOWN_BYTES
    try:
        value = decode_beginning(encoded) if is_beginning else json.loads(encoded)
        return jsonable(value)
    except (ValueError, RecursionError):
        return None  # A pickle of an older release, which is never read.
