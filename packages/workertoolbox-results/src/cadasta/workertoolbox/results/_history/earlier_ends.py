"""Tasks of an earlier release that had ended, and whose results were deleted.

Earlier releases keep a task in one table after its end. When its result has expired,
nothing there says that it has ended. But their monitors list the tasks that have never
had a result, `workertoolbox_queued`, up to an instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    column,
    exists,
    func,
    select,
    table,
    true,
)

from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.leftovers import find_listed_until
from cadasta.workertoolbox.results._database.tables import task
from cadasta.workertoolbox.results._history.closed_tasks import (
    TASK_COLUMNS,
    end_of,
    store_ends,
)
from cadasta.workertoolbox.results._history.conditions import has_result
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.walks import next_step

#: Maximum number of tasks that one run looks at.
STEP_SIZE = 5000

#: How long a task without a result may wait for a worker after its ETA. The result of a
#: retried task may have been deleted while the retry waits.
AFTER_ETA = timedelta(hours=1)

_queued = table("workertoolbox_queued", column("task_id"))


def close_earlier(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Store an end for these tasks, as `IGNORED`: their outcome is not known.

    The time of the end is that of the publication, because nothing says more.
    """
    until = find_listed_until(connection)
    if until is None:
        return
    is_listed = task.c.seen_at < until
    order = [task.c.seen_at, task.c.id]
    step = next_step(connection, options, order, is_listed, size=STEP_SIZE)
    columns = [task.c[name] for name in (*TASK_COLUMNS, "scheduled_at")]

    def close(ids: Sequence[str]) -> set[str]:
        query = (
            select(*columns)
            .where(is_in(connection, task.c.id, ids))
            .where(_has_ended(until), ~has_result(task.c.id))
            .where(func.coalesce(task.c.eta < now - AFTER_ETA, true()))
            .with_for_update(skip_locked=True)
        )
        ends = map(_end, connection.execute(query))
        return store_ends(connection, ends, options.faulty)

    options.faulty.process(
        *(connection, [id for _, id in step], close), what="earlier task"
    )


def may_wait(connection: Connection) -> ColumnElement[bool]:
    """Return the condition that a task without a result has not ended."""
    until = find_listed_until(connection)
    return true() if until is None else ~_has_ended(until)


def _has_ended(until: datetime) -> ColumnElement[bool]:
    """Return the condition that a task without a result had one before."""
    listed = select(_queued.c.task_id).where(_queued.c.task_id == task.c.id)
    return and_(task.c.seen_at < until, ~exists(listed))


def _end(row: Row[Any]) -> dict[str, Any]:
    # Forgotten, so that `AsyncResult` answers as it did before: it knows no result.
    return end_of(row, states.IGNORED, ended_at=row.scheduled_at, forgotten=True)
