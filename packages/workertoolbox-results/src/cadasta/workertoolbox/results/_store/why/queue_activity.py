"""What happened in a queue since one of its tasks could run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, text

from cadasta.workertoolbox.results._database.statuses import STATUSES
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.conditions import has_result
from cadasta.workertoolbox.results._history.outcomes import is_outcome_expected
from cadasta.workertoolbox.results._store.figures.queues import (
    CONSUMER_ROWS,
    RUN,
    End,
)
from cadasta.workertoolbox.results._store.figures.speeds import read_speed
from cadasta.workertoolbox.results._store.rows.day_windows import (
    day_windows,
    on_days_since,
)
from cadasta.workertoolbox.results._store.rows.latest_rows import latest_with
from cadasta.workertoolbox.results._store.rows.value_days import find_days

#: Maximum number of tasks that are counted.
MAX_ROWS = 20_000

#: Maximum number of running tasks that are read.
MAX_RUNNING = 1000

#: Maximum number of tasks that are counted as overtaking another one.
MAX_OVERTAKING = 1000

#: A worker is taken to consume the queues of the tasks that it ran within so many days.
#: Overtaking tasks are searched as far back.
ACTIVE_DAYS = 1


class Running(NamedTuple):
    """A task that has started and not ended."""

    id: str
    name: str | None
    queue: str | None
    worker: str | None
    started_at: datetime


@dataclass(frozen=True, slots=True)
class QueueActivity:
    """What happened in a queue since a task could run.

    Attributes:
        before: Number of tasks that could run earlier and have not started; 20,000 if
            there are more.
        running: Tasks of the queue that run, and those that its workers run for other
            queues, the oldest first.
        active_at: When a task of the queue last started or ended; None if none has.
        overtaken_by: Number of tasks that were published later and have started; 1,000
            if there are more.
        workers: Those that have run tasks of the queue within a day.
        per_second: Tasks that ended per second in the last ten minutes.
    """

    before: int
    running: Sequence[Running]
    active_at: datetime | None
    overtaken_by: int
    workers: Collection[str]
    per_second: float


def read_activity(
    connection: Connection, queue: str, due_at: datetime, now: datetime
) -> QueueActivity:
    """Return what happened in a queue since `due_at`."""
    live, overtaking = _read_live_ends(connection, queue, due_at)
    since = now - timedelta(days=ACTIVE_DAYS)
    ended = [*live, *_archived_ends(connection, queue, since)]
    recent = {each.worker for each in ended if each.at >= since}
    workers = {worker for worker in recent if worker is not None}
    running = _read_running(connection, queue, workers)
    own = [each for each in running if each.queue == queue]
    workers |= {each.worker for each in own if each.worker is not None}
    active = [each.at for each in ended]
    active += (each.started_at for each in own)
    return QueueActivity(
        before=_count_before(connection, queue, due_at, now),
        running=running,
        active_at=max(active, default=None),
        overtaken_by=min(
            overtaking + _count_overtaking(connection, queue, due_at, now),
            MAX_OVERTAKING,
        ),
        workers=sorted(workers),
        per_second=read_speed(connection, queue, now),
    )


def _read_live_ends(
    connection: Connection, queue: str, due_at: datetime
) -> tuple[Sequence[End], int]:
    """Return the latest end of each worker, and how many tasks have overtaken another.

    Of the tasks that have ended and are not archived, the newest `MAX_ROWS` of all
    queues are read, because results have no index on the queue.
    """
    result = taskmeta.c
    newest = (
        select(
            *(result.queue, result.worker, result.date_done),
            *(result.published_at, result.started_at),
        )
        .where(text(IS_UNARCHIVED), result.queue.is_not(None))
        .order_by(result.date_done.desc())
        .limit(MAX_ROWS)
        .subquery()
        .c
    )
    has_overtaken = (newest.published_at > due_at) & newest.started_at.is_not(None)
    query = (
        select(
            newest.worker,
            func.max(newest.date_done, type_=newest.date_done.type),
            func.count().filter(has_overtaken),
        )
        .where(newest.queue == queue)
        .group_by(newest.worker)
    )
    rows = connection.execute(query).all()
    ends = [
        End(ended_at.replace(tzinfo=UTC), worker)
        for worker, ended_at, _ in rows
        if worker is not None and ended_at is not None
    ]
    return ends, sum(number for *_, number in rows)


def _count_before(
    connection: Connection, queue: str, due_at: datetime, now: datetime
) -> int:
    """Return how many tasks could run earlier and have not started."""
    columns = task.c
    some = select(columns.id).where(
        columns.queue == queue,
        columns.scheduled_at < due_at,
        or_(columns.eta.is_(None), columns.eta < due_at),
        or_(columns.expires.is_(None), columns.expires > now),
        ~has_result(columns.id),
        is_outcome_expected(now),
    )
    return _count(connection, some, MAX_ROWS)


def _count(connection: Connection, query: Select[tuple[Any]], limit: int) -> int:
    some = query.limit(limit).subquery()
    return connection.scalars(select(func.count()).select_from(some)).one()


def _count_overtaking(
    connection: Connection, queue: str, due_at: datetime, now: datetime
) -> int:
    """Return how many tasks of the queue that were published later have started.

    Running tasks are counted, and archived ones that ended in the last `ACTIVE_DAYS`.
    """
    result, columns = taskmeta.c, history.c
    running = select(result.task_id).where(
        text(IS_OPEN),
        result.queue == queue,
        result.published_at > due_at,
        result.started_at.is_not(None),
    )
    since = max(due_at, now - timedelta(days=ACTIVE_DAYS))
    archived = select(columns.id).where(
        on_days_since(since),
        columns.queue == queue,
        columns.listed_at > since,
        columns.started_at.is_not(None),
        columns.tracked,
    )
    return sum(_count(connection, each, MAX_OVERTAKING) for each in (running, archived))


def _read_running(
    connection: Connection, queue: str, workers: Collection[str]
) -> Sequence[Running]:
    result = taskmeta.c
    of_message = select(task.c.queue).where(task.c.id == result.task_id)
    its_name = select(task.c.name).where(task.c.id == result.task_id)
    queue_of_task = func.coalesce(result.queue, of_message.scalar_subquery())
    query = (
        select(
            result.task_id,
            func.coalesce(result.name, its_name.scalar_subquery()),
            queue_of_task,
            result.worker,
            result.started_at,
            result.date_done,
        )
        .where(
            text(IS_OPEN),
            or_(result.status == states.STARTED, result.status.not_in(STATUSES)),
            or_(queue_of_task == queue, result.worker.in_(sorted(workers))),
        )
        .limit(MAX_RUNNING)
    )
    found = []
    for id, name, its_queue, worker, started_at, stored_at in connection.execute(query):
        at = started_at or (stored_at and stored_at.replace(tzinfo=UTC))
        if at is not None:
            found.append(Running(id, name, its_queue, worker, at))
    return sorted(found, key=lambda each: (each.started_at, each.id))


def _archived_ends(
    connection: Connection, queue: str, since: datetime
) -> Sequence[End]:
    """Return the newest ends of a queue in the history.

    They are those since an instant, or of the newest days with any.
    """
    recent = _ends_in(connection, queue, on_days_since(since))
    if recent:
        return recent
    days = find_days(connection, {"queue": [queue]})
    for window in day_windows(connection, only=days):
        found = _ends_in(connection, queue, *window.conditions())
        if found:
            return found
    return []


def _ends_in(
    connection: Connection, queue: str, *days: ColumnElement[bool]
) -> Sequence[End]:
    columns = history.c
    query = select(columns.finished_at, columns.worker).where(
        *days, columns.status.in_(RUN), columns.worker.is_not(None)
    )
    latest = latest_with(query, columns.queue, queue, columns.listed_at, CONSUMER_ROWS)
    return [End(*row) for row in connection.execute(latest)]
