"""Reading of tasks from the view `workertoolbox_tasks`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any

from celery.states import EXCEPTION_STATES, PROPAGATE_STATES, STARTED
from sqlalchemy import (
    Connection,
    LargeBinary,
    Select,
    case,
    func,
    null,
    select,
)

from cadasta.workertoolbox.results._arguments.cut_json import decode_beginning
from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.tables import ended, taskmeta, tasks
from cadasta.workertoolbox.results._store.task import Task

#: Maximum number of tasks that one statement reads.
MAX_IDS_PER_QUERY = 1000

#: Bytes of a result that are read if it is only shown, and of a failure: enough for the
#: characters that `tasks show` prints, each of which may take twelve bytes as JSON.
SHOWN_BYTES = 1024
SHOWN_FAILURE_BYTES = 16 * 1024

#: Columns that may hold megabytes, besides the result.
LARGE = ("args", "kwargs", "traceback")


class Detail(Enum):
    """How much is read of what may be large."""

    #: Everything.
    WHOLE = "whole"

    #: The beginning of results; neither arguments nor tracebacks.
    SHORTENED = "shortened"

    #: No arguments, results and tracebacks.
    BRIEF = "brief"


def read_tasks(
    connection: Connection, ids: Sequence[str], *, detail: Detail = Detail.WHOLE
) -> Sequence[Task]:
    """Return the tasks with these ids, in the order given; unknown ids are skipped."""
    found: dict[str, Task] = {}
    query = _select(detail, connection.dialect.name)
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        some = ids[start : start + MAX_IDS_PER_QUERY]
        rows = connection.execute(query.where(tasks.c.id.in_(some))).mappings().all()
        for row in rows:
            encoded, not_run, long_id = (row[name] for name in _OTHERS)
            if long_id is not None:
                encoded = _read_beginning(connection, long_id)
            values = {name: row[name] for name in row if name not in _OTHERS}
            result = _result(encoded, not_run, row["status"], detail)
            found[row["id"]] = Task(**values, result=result)
    return [found[id] for id in ids if id in found]


#: What is read besides the columns of the view.
_OTHERS = ("encoded_result", "not_run", "long_id")


@cache
def _select(detail: Detail, dialect: str) -> Select[Any]:
    """Return the query for the columns of the view, and for the result as it is stored.

    The view shows results as `jsonb`, which cannot represent everything that Python's
    JSON can, such as NaN.
    """
    is_whole = detail is Detail.WHOLE
    columns = [
        column if is_whole or column.name not in LARGE else null().label(column.name)
        for column in tasks.c
        if column.name != "result"
    ]
    if detail is Detail.BRIEF:
        return select(*columns, *(null().label(name) for name in _OTHERS))
    result = taskmeta.c.result
    others = [result, func.coalesce(taskmeta.c.not_run, ended.c.not_run), null()]
    if detail is Detail.SHORTENED:
        is_failure = taskmeta.c.status.in_(sorted(EXCEPTION_STATES))
        limit = case((is_failure, SHOWN_FAILURE_BYTES), else_=SHOWN_BYTES)
        others[0] = func.substr(result, 1, limit, type_=LargeBinary)
        if dialect == "sqlite":
            # `substr` would read the whole result into the memory of this process.
            is_long = func.length(result) > limit
            others[0] = case((is_long, null()), else_=result)
            others[2] = case((is_long, taskmeta.c.id))
    labelled = (each.label(name) for each, name in zip(others, _OTHERS, strict=True))
    return (
        select(*columns, *labelled)
        .join_from(tasks, taskmeta, tasks.c.id == taskmeta.c.task_id, isouter=True)
        .join(ended, tasks.c.id == ended.c.task_id, isouter=True)
    )


def _read_beginning(connection: Connection, id: int) -> bytes:
    """Read the beginning of the result in a row of SQLite."""
    driver: Any = connection.connection.driver_connection
    with driver.blobopen(taskmeta.name, "result", id, readonly=True) as blob:
        return bytes(blob.read(SHOWN_FAILURE_BYTES))


def _result(
    encoded: bytes | None, not_run: str | None, status: str, detail: Detail
) -> Any:
    if not_run is not None and status in PROPAGATE_STATES:
        return not_run
    if encoded is None or status == STARTED:
        return None
    encoded = bytes(encoded)
    is_cut = detail is Detail.SHORTENED and len(encoded) >= SHOWN_BYTES
    try:
        return jsonable(decode_beginning(encoded) if is_cut else json.loads(encoded))
    except (ValueError, RecursionError):
        return None  # A pickle of an older release, which is never read.
