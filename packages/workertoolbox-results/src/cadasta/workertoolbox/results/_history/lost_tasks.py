"""Tasks whose worker died after it had acknowledged them.

Such a task does not run again, and its end is never stored. It is shown as lost when it
should have ended and its worker has stored nothing for some minutes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    update,
)

from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.statuses import ENDED, LOST
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.walks import next_step

#: Maximum number of running tasks that one run looks at.
STEP_SIZE = 5000

#: Factor on the time after which a task is lost, if its worker still stores states: the
#: worker may have been restarted under the same name.
ACTIVE_FACTOR = 4


def mark_lost(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Mark running tasks as lost if their worker has died.

    A task that is delivered again has a new start. A state that a task stores later
    replaces the mark.
    """
    overdue = _find_overdue(connection, now, options)
    since = now - timedelta(seconds=options.silent_s)
    active = _find_active(connection, {row.worker for row in overdue}, since)
    marks = []
    for row in overdue:
        is_active = row.worker in active
        bound_s = _bound_s(row, options) * (ACTIVE_FACTOR if is_active else 1)
        started_at = row.date_done.replace(tzinfo=UTC)
        if (now - started_at).total_seconds() > bound_s:
            marks.append(_mark(row, now, is_silent=not is_active))
    if marks:
        connection.execute(_MARK, marks)


_MARK = (
    update(taskmeta)
    .where(
        taskmeta.c.task_id == bindparam("lost_id"),
        taskmeta.c.status == states.STARTED,
        taskmeta.c.date_done
        == bindparam("lost_since", type_=taskmeta.c.date_done.type),
    )
    .values(
        status=LOST,
        result=bindparam("reason"),
        date_done=bindparam("at"),
    )
)


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
    is_running = and_(result.status == states.STARTED, result.status.not_in(ENDED))
    step = next_step(
        *(connection, options, [result.date_done, result.task_id]),
        *(is_running, result.date_done < silent_since),
        size=STEP_SIZE,
    )
    query = (
        select(result.task_id, result.worker, result.date_done, task.c.time_limit_s)
        .join_from(taskmeta, task, task.c.id == result.task_id, isouter=True)
        .where(is_in(connection, result.task_id, [id for _, id in step]))
        .where(is_running, result.date_done < silent_since)
        .where(or_(result.date_done < until, task.c.time_limit_s.is_not(None)))
        .where(or_(task.c.id.is_(None), is_same))
    )
    return connection.execute(query).all()


def _find_active(
    connection: Connection, workers: Iterable[str | None], since: datetime
) -> set[str]:
    """Return those of the workers that have stored a state since an instant."""
    wanted = sorted(worker for worker in workers if worker is not None)
    if not wanted:
        return set()
    stored = select(taskmeta.c.worker).distinct()
    stored = stored.where(taskmeta.c.date_done >= naive_utc(since))
    by_them = is_in(connection, taskmeta.c.worker, wanted)
    return {*connection.scalars(stored.where(by_them))}


def _bound_s(row: Row[*tuple[Any, ...]], options: ArchiveOptions) -> float:
    """Return the seconds after which a task is overdue.

    A worker that is alive ends a task at its time limit, and stores the end.
    """
    if row.time_limit_s is None:
        return options.lost_after_s
    return float(row.time_limit_s) + options.silent_s


def _mark(row: Row[Any], now: datetime, *, is_silent: bool) -> dict[str, Any]:
    worker = row.worker or "its worker"
    did = "stores nothing any more" if is_silent else "stores only other tasks"
    reason = f"lost: started at {row.date_done:%Y-%m-%dT%H:%M:%S}Z, and {worker} {did}"
    return {
        "lost_id": row.task_id,
        "lost_since": row.date_done,
        "reason": json.dumps(reason).encode(),
        "at": naive_utc(now),
    }
