"""Reading of tasks from the view `workertoolbox_tasks`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from celery import states
from sqlalchemy import Connection, func, null, select

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.tables import ended, taskmeta, tasks
from cadasta.workertoolbox.results._store.task import Task

#: Maximum number of tasks that one statement reads.
MAX_IDS_PER_QUERY = 1000

#: Columns that may hold megabytes, besides the result.
LARGE = ("args", "kwargs", "traceback")

#: The columns of the view, but with the result as the worker stored it: `jsonb` cannot
#: represent everything that Python's JSON can, such as NaN.
_SELECT = (
    select(
        *(column for column in tasks.c if column.name != "result"),
        taskmeta.c.result.label("encoded_result"),
        func.coalesce(taskmeta.c.not_run, ended.c.not_run).label("not_run"),
    )
    .join_from(
        tasks,
        taskmeta,
        tasks.c.id == taskmeta.c.task_id,
        isouter=True,
    )
    .join(ended, tasks.c.id == ended.c.task_id, isouter=True)
)


#: The same without what may be large, which is not even read.
_SELECT_BRIEF = select(
    *(
        null().label(column.name) if column.name in LARGE else column
        for column in tasks.c
        if column.name != "result"
    ),
    null().label("encoded_result"),
    null().label("not_run"),
)


def read_tasks(
    connection: Connection, ids: Sequence[str], *, brief: bool = False
) -> Sequence[Task]:
    """Return the tasks with these ids, in the order given; unknown ids are skipped.

    Args:
        brief: Whether to leave out arguments, results and tracebacks.
    """
    found: dict[str, Task] = {}
    query = _SELECT_BRIEF if brief else _SELECT
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        some = ids[start : start + MAX_IDS_PER_QUERY]
        rows = connection.execute(query.where(tasks.c.id.in_(some))).mappings()
        found |= {task.id: task for task in (_task(**row) for row in rows)}
    return [found[id] for id in ids if id in found]


def _task(*, encoded_result: bytes | None, not_run: str | None, **row: Any) -> Task:
    if not_run is not None and row["status"] in states.PROPAGATE_STATES:
        return Task(**row, result=not_run)
    has_result = row["status"] != states.STARTED
    return Task(**row, result=_decode(encoded_result) if has_result else None)


def _decode(encoded: bytes | None) -> Any:
    try:
        return None if encoded is None else jsonable(json.loads(bytes(encoded)))
    except (ValueError, RecursionError):
        return None  # A pickle of an older release, which is never read.
