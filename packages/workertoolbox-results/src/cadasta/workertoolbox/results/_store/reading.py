"""Reading tasks by their ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from functools import cache
from typing import Any

from celery.states import EXCEPTION_STATES, PROPAGATE_STATES, STARTED, SUCCESS
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    RowMapping,
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
from cadasta.workertoolbox.results._database.archived import (
    are_on,
    find_last_ends,
)
from cadasta.workertoolbox.results._database.lock_use import release_locks
from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._database.tables import history, planned, taskmeta
from cadasta.workertoolbox.results._database.view import live, tasks
from cadasta.workertoolbox.results._history.conditions import has_message_or_result
from cadasta.workertoolbox.results._store.dated_ids import DatedId, days_by_id
from cadasta.workertoolbox.results._task import Task

#: Maximum number of tasks that one statement reads.
MAX_IDS_PER_QUERY = 1000

#: Maximum number of days of the history that one statement reads.
DAYS_PER_QUERY = 16

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

    #: The same, but no results of tasks that succeeded.
    OUTLINE = "outline"

    #: No arguments, results and tracebacks.
    BRIEF = "brief"

    @classmethod
    def of(
        cls, *, brief: bool = False, shortened: bool = False, outline: bool = False
    ) -> Detail:
        """Return what the arguments of `TaskStore`'s methods ask for."""
        if brief:
            return cls.BRIEF
        if outline:
            return cls.OUTLINE
        return cls.SHORTENED if shortened else cls.WHOLE


def read_tasks(
    connection: Connection,
    ids: Sequence[str],
    *,
    days: Mapping[str, date] | None = None,
    detail: Detail = Detail.WHOLE,
    are_live: bool = True,
) -> Sequence[Task]:
    """Return the tasks with these ids, in the order given; unknown ids are skipped.

    Args:
        days: The days of those that are in the history, by id. By default, all days
            are searched.
        are_live: Whether some may be live: have a message, or a result that is not
            archived.
    """
    found: dict[str, Task] = {}
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        some = ids[start : start + MAX_IDS_PER_QUERY]
        tasks = _read(connection, some, days, detail, are_live)
        found |= {task.id: task for task in tasks}
    return [found[id] for id in ids if id in found]


def select_ended(
    connection: Connection, detail: Detail, at: ColumnElement[datetime]
) -> Select[Any]:
    """Return a query of the history for `fetch_ended`.

    Args:
        at: The column that tasks are sorted by.
    """
    query = _select(history, detail, connection.dialect.name)
    return query.add_columns(at.label("at"), history.c.day)


def fetch_ended(
    connection: Connection, query: Select[Any], limit: int
) -> Sequence[DatedId]:
    """Return the first tasks of a query that `select_ended` begins, newest first.

    They are read at once, because PostgreSQL takes longer to plan a second query on
    their days than to read them.
    """
    rows = connection.execute(query.limit(limit)).mappings()
    found = (DatedId(row["at"], row["id"], row["day"], row) for row in rows)
    # Of two ends of the same id, the newest is first.
    return sorted(found, key=lambda each: (each.at, each.day), reverse=True)


def read_found(
    connection: Connection, found: Sequence[DatedId], detail: Detail
) -> Sequence[Task]:
    """Return the tasks that were found, in their order.

    Args:
        detail: The same as for the tasks that were read when they were found.
    """
    missing = [each for each in found if each.row is None]
    ids, days = [each.id for each in missing], days_by_id(missing)
    others = read_tasks(connection, ids, days=days, detail=detail)
    tasks = {task.id: task for task in others}
    for each in found:
        if each.row is not None:
            tasks[each.id] = _task(connection, each.row, detail)
    return [tasks[each.id] for each in found if each.id in tasks]


def _read(
    connection: Connection,
    ids: Sequence[str],
    days: Mapping[str, date] | None,
    detail: Detail,
    are_live: bool,
) -> Iterator[Task]:
    """Yield tasks: live ones, archived ones that are not live, and planned ones."""
    missing = dict.fromkeys(ids)
    for task in _read_from(connection, live, missing if are_live else (), detail):
        del missing[task.id]
        yield task
    if days is None:
        days = {each.id: each.day for each in find_last_ends(connection, [*missing])}
    for some in by_days(missing, days):
        is_on = are_on(days[id] for id in some)
        release_locks(connection)
        for task in _read_from(connection, history, some, detail, is_on):
            missing.pop(task.id, None)
            yield task
    yield from _read_planned(connection, missing)


def by_days(ids: Iterable[str], days: Mapping[str, date]) -> Iterator[Sequence[str]]:
    """Yield the ids of tasks in the history, those of a few days together.

    PostgreSQL looks for each id of a query in each of its days.
    """
    archived = sorted((id for id in ids if id in days), key=lambda id: days[id])
    known = sorted({days[id] for id in archived})
    for start in range(0, len(known), DAYS_PER_QUERY):
        some = {*known[start : start + DAYS_PER_QUERY]}
        yield [id for id in archived if days[id] in some]


def _read_from(
    connection: Connection,
    table: Table,
    ids: Iterable[str],
    detail: Detail,
    *conditions: ColumnElement[bool],
) -> Sequence[Task]:
    wanted = [*ids]
    if not wanted:
        return []
    query = _select(table, detail, connection.dialect.name)
    query = query.where(table.c.id.in_(wanted), *conditions)
    if table is history:
        # Of two ends of the same id, the newest is the last, and is returned.
        query = query.order_by(history.c.day)
    rows = connection.execute(query).mappings().all()
    return [_task(connection, row, detail) for row in rows]


def _read_planned(connection: Connection, ids: Iterable[str]) -> Iterator[Task]:
    wanted = [*ids]
    if not wanted:
        return
    unknown = {column.name: None for column in tasks.c}
    names = ("id", "name", "root_id", "parent_id", "group_id")
    query = select(*(planned.c[name] for name in names)).where(
        planned.c.id.in_(wanted), ~has_message_or_result(planned.c.id)
    )
    for row in connection.execute(query).mappings():
        parent_id = None if row["parent_id"] == row["id"] else row["parent_id"]
        values = {**unknown, **row, "parent_id": parent_id}
        yield Task(**{**values, "status": PLANNED, "tracked": True})


#: With these, only the beginning of a result is read.
_CUT = (Detail.SHORTENED, Detail.OUTLINE)

#: Columns that tasks have as they are read.
_COLUMNS = (*(each.name for each in tasks.c if each.name != "result"), "result_bytes")

#: Columns from which their results are made.
_OTHERS = ("encoded_result", "not_run", "is_long")


@cache
def _select(table: Table, detail: Detail, dialect: str) -> Select[Any]:
    """Return the query for tasks that are live or in the history.

    The view shows results as `jsonb`, which cannot represent everything that Python's
    JSON can, such as NaN. Therefore they are read as they are stored.
    """
    has_all = detail in (Detail.WHOLE, Detail.LIMITED)
    columns: list[ColumnElement[Any]] = [
        table.c[name] if has_all or name not in LARGE else null().label(name)
        for name in _COLUMNS
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


def _task(connection: Connection, row: RowMapping, detail: Detail) -> Task:
    # A query for tasks begins with these columns. Values by their places take half of
    # the time of values by their names.
    read = [*row.values()]
    values = dict(zip(_COLUMNS, read, strict=False))
    encoded, not_run, is_long = read[len(_COLUMNS) : len(_COLUMNS) + len(_OTHERS)]
    if is_long:
        limit = MAX_BYTES if detail is Detail.LIMITED else SHOWN_FAILURE_BYTES
        encoded = _read_beginning(connection, values["id"], limit)
    if not_run is not None and values["status"] in PROPAGATE_STATES:
        return Task(**{**values, "result": not_run, "result_bytes": None})
    is_cut = detail in _CUT or values["result_bytes"] is not None
    return Task(**values, result=_result(encoded, values["status"], is_cut))


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
