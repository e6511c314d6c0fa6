"""Workers, as the starts and ends of tasks show them.

Workers are not asked, so this works on every broker, SQS included.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import starmap
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import Connection, Select, func, or_, select, text

from cadasta.workertoolbox.results._database.statuses import STATUSES
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    IS_UNUSUAL,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import NEVER, naive_utc
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.rows.day_windows import on_days_since
from cadasta.workertoolbox.results._store.rows.distinct_values import each_value

#: The last minutes for which ended tasks are counted.
RECENT = timedelta(minutes=10)

#: Maximum number of rows that are read: of running tasks, of failures, and of ended
#: tasks that are not archived.
MAX_ROWS = 20_000

#: Maximum number of workers that are looked for in the history.
MAX_WORKERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask(JsonRecord):
    """A task that has started and not ended.

    Attributes:
        id: Id of the task.
        name: Its name, if it is known.
        started_at: When the attempt began; None if its worker has not stored that.
    """

    id: str
    name: str | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker(JsonRecord):
    """A worker, as the starts and ends of its tasks show it.

    Attributes:
        name: Its name, such as `celery@host`.
        seen_at: When it last started or ended a task. A worker without tasks is not
            seen.
        running: The tasks that it runs, the oldest first.
        ended: Number of tasks that it ended in the last ten minutes.
        failed: Number of these that failed.
    """

    name: str
    seen_at: datetime
    running: Sequence[RunningTask] = ()
    ended: int = 0
    failed: int = 0


class _Ended(NamedTuple):
    """The last end of a worker, and the number of its recent ones."""

    worker: str
    at: datetime
    recent: int


def read_workers(
    connection: Connection, *, since: datetime, now: datetime
) -> Sequence[Worker]:
    """Return the workers that were seen since an instant, by name."""
    running = _read_running(connection)
    ends = _read_live_ends(connection, now)
    ended = Counter({worker: number for worker, (_, number, _) in ends.items()})
    failed = Counter({worker: number for worker, (*_, number) in ends.items()})
    seen = {worker: at for worker, (at, *_) in ends.items()}
    for worker, at, number in _read_archived(connection, since, now, [*running]):
        seen[worker] = max(at, seen.get(worker, at))
        ended[worker] += number
    failed.update(_count_failures(connection, now))
    for worker, tasks in running.items():
        starts = [each.started_at for each in tasks if each.started_at is not None]
        if starts:
            seen[worker] = max(*starts, seen.get(worker, starts[0]))
    return [
        Worker(
            name=worker,
            seen_at=seen[worker],
            running=running.get(worker, ()),
            ended=ended[worker],
            failed=failed[worker],
        )
        for worker in sorted(seen)
        if seen[worker] >= since or worker in running
    ]


def _read_running(connection: Connection) -> Mapping[str, Sequence[RunningTask]]:
    """Return the running tasks by worker."""
    result = taskmeta.c
    of_message = select(task.c.name).where(task.c.id == result.task_id)
    query = (
        select(
            result.worker,
            result.status,
            result.task_id,
            func.coalesce(result.name, of_message.scalar_subquery()),
            result.started_at,
            result.date_done,
        )
        .where(text(IS_OPEN), result.worker.is_not(None))
        .limit(MAX_ROWS)
    )
    found = defaultdict(list)
    for worker, status, id, name, started_at, stored_at in connection.execute(query):
        if status == states.STARTED or status not in STATUSES:
            at = started_at or (stored_at and stored_at.replace(tzinfo=UTC))
            found[worker].append(RunningTask(id=id, name=name, started_at=at))
    return {
        worker: sorted(tasks, key=lambda each: (each.started_at or NEVER, each.id))
        for worker, tasks in found.items()
    }


def _read_live_ends(
    connection: Connection, now: datetime
) -> Mapping[str, tuple[datetime, int, int]]:
    """Return the last end of each worker, and its ended and failed tasks.

    Only tasks that are not archived are counted.
    """
    result = taskmeta.c
    newest = (
        select(result.worker, result.status, result.date_done)
        .where(
            text(IS_UNARCHIVED),
            result.worker.is_not(None),
            result.date_done >= naive_utc(now - RECENT),
        )
        .order_by(result.date_done.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    at = func.max(newest.c.date_done, type_=newest.c.date_done.type)
    is_failure = newest.c.status == states.FAILURE
    query = select(
        newest.c.worker, at, func.count(), func.count().filter(is_failure)
    ).group_by(newest.c.worker)
    return {
        worker: (ended_at.replace(tzinfo=UTC), ended, failed)
        for worker, ended_at, ended, failed in connection.execute(query)
    }


def _read_archived(
    connection: Connection, since: datetime, now: datetime, running: Collection[str]
) -> Iterator[_Ended]:
    """Yield the ended tasks of each worker in the history.

    The index on worker and end is searched once for each worker of these days. Workers
    without a task since an instant are left out, unless they run one.

    Args:
        running: Workers that run a task.
    """
    first = min(since, now - RECENT)
    in_days = on_days_since(first)
    columns = history.c
    worker = each_value(columns.worker, in_days).c.value
    last: Select[Any] = select(
        func.max(columns.finished_at, type_=columns.finished_at.type)
    ).where(in_days, columns.worker == worker)
    # Inside of a limit: PostgreSQL would search for an instant each time that it is
    # compared, also with those that Python can represent.
    ends = (
        select(worker, last.scalar_subquery().label("at"))
        .limit(MAX_WORKERS)
        .subquery()
        .c
    )
    recent = select(func.count()).where(
        in_days, columns.worker == ends.value, columns.finished_at >= now - RECENT
    )
    query = select(ends.value, ends.at, recent.scalar_subquery()).where(
        or_(ends.at >= first, ends.value.in_(running))
    )
    yield from starmap(_Ended, connection.execute(query))


def _count_failures(connection: Connection, now: datetime) -> Mapping[str, int]:
    """Return the number of recent failures in the history by worker."""
    since = now - RECENT
    recent = (
        select(history.c.worker)
        .where(
            on_days_since(since),
            text(IS_UNUSUAL),  # As text, so that SQLite finds the partial index.
            history.c.status == states.FAILURE,
            history.c.finished_at >= since,
            history.c.worker.is_not(None),
        )
        .limit(MAX_ROWS)
        .subquery()
    )
    query = select(recent.c.worker, func.count()).group_by(recent.c.worker)
    return {worker: number for worker, number in connection.execute(query)}
