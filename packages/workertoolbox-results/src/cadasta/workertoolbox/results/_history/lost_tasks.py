"""Tasks whose worker died after it had acknowledged them.

Such a task does not run again, and its end is never stored. It is shown as lost when it
should have ended and its worker has stored nothing for some minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import Connection, Row, and_, func, or_, select, true, update

from cadasta.workertoolbox.results._database.statuses import ENDED, LOST
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions

#: Maximum number of tasks in a transaction.
BATCH_SIZE = 1000

#: Factor on the time after which a task is lost, if its worker still stores states: the
#: worker may have been restarted under the same name.
ACTIVE_FACTOR = 4


def mark_lost(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Mark running tasks as lost if their worker has died.

    A task that is delivered again has a new start. A state that a task stores later
    replaces the mark.
    """
    since = now - timedelta(seconds=options.silent_s)
    silences: dict[str | None, bool] = {None: True}
    marked = 0
    for row in _find_overdue(connection, now, options):
        if row.worker not in silences:
            silences[row.worker] = _is_silent(connection, row.worker, since)
        is_silent = silences[row.worker]
        bound_s = _bound_s(row, options) * (1 if is_silent else ACTIVE_FACTOR)
        started_at = row.date_done.replace(tzinfo=UTC)
        if (now - started_at).total_seconds() > bound_s:
            _mark(connection, row, now, is_silent=is_silent)
            marked += 1
        if marked == BATCH_SIZE:
            break


def _find_overdue(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return tasks that have run longer than the bound, or that have a time limit.

    Tasks that were published again are left out.
    """
    result = taskmeta.c
    is_same = and_(
        func.coalesce(task.c.retries == result.retries, true()),
        func.coalesce(task.c.published_at == result.published_at, true()),
    )
    until = naive_utc(now - timedelta(seconds=options.lost_after_s))
    silent_since = naive_utc(now - timedelta(seconds=options.silent_s))
    query = (
        select(result.task_id, result.worker, result.date_done, task.c.time_limit_s)
        .join_from(taskmeta, task, task.c.id == result.task_id, isouter=True)
        .where(result.status == states.STARTED, result.status.not_in(ENDED))
        .where(result.date_done < silent_since)
        .where(or_(result.date_done < until, task.c.time_limit_s.is_not(None)))
        .where(or_(task.c.id.is_(None), is_same))
        .order_by(result.date_done)
    )
    return connection.execute(query).all()


def _bound_s(row: Row[*tuple[Any, ...]], options: ArchiveOptions) -> float:
    """Return the seconds after which a task is overdue.

    A worker that is alive ends a task at its time limit, and stores the end.
    """
    if row.time_limit_s is None:
        return options.lost_after_s
    return float(row.time_limit_s) + options.silent_s


def _is_silent(connection: Connection, worker: str, since: datetime) -> bool:
    stored = select(taskmeta.c.task_id).where(
        taskmeta.c.worker == worker, taskmeta.c.date_done >= naive_utc(since)
    )
    return connection.execute(stored.limit(1)).first() is None


def _mark(
    connection: Connection, row: Row[Any], now: datetime, *, is_silent: bool
) -> None:
    worker = row.worker or "its worker"
    did = "stores nothing any more" if is_silent else "stores only other tasks"
    reason = f"lost: started at {row.date_done:%Y-%m-%dT%H:%M:%S}Z, and {worker} {did}"
    unchanged = (
        taskmeta.c.task_id == row.task_id,
        taskmeta.c.status == states.STARTED,
        taskmeta.c.date_done == row.date_done,
    )
    values = {
        "status": LOST,
        "result": json.dumps(reason).encode(),
        "date_done": naive_utc(now),
    }
    connection.execute(update(taskmeta).where(*unchanged).values(values))
