"""The backlog of each queue: waiting and running tasks, and its workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from celery import states
from sqlalchemy import ColumnElement, Connection, Select, func, select, text

from cadasta.workertoolbox.results._database.statuses import STATUSES
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    backlog,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.backlog import (
    ALL_QUEUES,
    count_queued,
)
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.figures.speeds import (
    CONSUMER_WINDOW,
    read_speeds,
)
from cadasta.workertoolbox.results._store.rows.day_windows import on_days_since
from cadasta.workertoolbox.results._store.rows.distinct_values import distinct_values
from cadasta.workertoolbox.results._store.rows.latest_rows import (
    group_latest,
    latest_with,
)

#: Maximum number of live tasks that are counted: each is looked up in the results. Of
#: more tasks, the numbers are those of the sample that the archiver takes each minute.
MAX_COUNTED = 5_000

#: Maximum number of running tasks, and of the latest ends, that are read.
MAX_ROWS = 20_000

#: Age from which a sample of the archiver counts as out of date: it takes one a minute.
MAX_SAMPLE_AGE = timedelta(minutes=5)

#: Number of latest ended tasks of a queue whose workers are read.
CONSUMER_ROWS = 200

#: Statuses of tasks that a worker has run.
RUN = (states.SUCCESS, states.FAILURE, states.IGNORED)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog(JsonRecord):
    """What waits in a queue, what runs, and which workers consume it.

    Attributes:
        queue: The queue.
        queued: Number of tasks that can run and have not started; None if nothing has
            counted them.
        scheduled: Number of tasks with an ETA ahead; None likewise.
        oldest_s: Seconds that the oldest task has waited since it could run; 0.0 if no
            task waits.
        unknown: Number of tasks that could run and may have, because their results are
            stored elsewhere; 0 if the archiver counted the tasks.
        retrying: Number of tasks that are to be retried.
        running: Number of tasks that have started and not ended.
        counted_at: When the tasks were counted: now, or in the archiver's last sample
            if more than 5,000 tasks are live. It takes a sample each minute.
        consumers: Workers that run a task of the queue, or have run one of its last 200
            within an hour. It needs no remote control, so it works on every broker.
        ended_at: When a task of the queue last ended, within the last hour.
        per_second: Tasks of the queue that ended per second, in the last ten minutes
            whose tasks are archived.
    """

    json_added: ClassVar = {"drain_s": "drain_s"}

    queue: str
    queued: int | None = 0
    scheduled: int | None = 0
    oldest_s: float = 0.0
    unknown: int = 0
    retrying: int = 0
    running: int = 0
    counted_at: datetime
    consumers: Sequence[str] = ()
    ended_at: datetime | None = None
    per_second: float = 0.0

    @property
    def drain_s(self) -> float | None:
        """Seconds until the queued tasks have run, if no others are published.

        It is None if tasks wait and no task has ended lately.
        """
        if not self.queued:
            return None if self.queued is None else 0.0
        return self.queued / self.per_second if self.per_second else None


class _Waiting(NamedTuple):
    """What waits: an instant, and the columns of `QueueBacklog` by queue."""

    counted_at: datetime
    by_queue: Mapping[str, Mapping[str, Any]]


@dataclass
class _OpenTasks:
    """Tasks of a queue that have a state and have not ended."""

    running: int = 0
    retrying: int = 0
    workers: set[str] = field(default_factory=set)


def read_queues(connection: Connection, now: datetime) -> Sequence[QueueBacklog]:
    """Return the backlogs of all queues that have live tasks, or had tasks lately.

    Those with most queued tasks are first.
    """
    if _are_few(connection):
        waiting = _Waiting(now, _count_waiting(connection, now))
    else:
        waiting = _read_sample(connection, now)
    open_tasks = _read_open_tasks(connection)
    speeds = read_speeds(connection, now)
    ends = read_newest_ends(connection)
    queues = {*waiting.by_queue, *open_tasks, *speeds, *ends}
    # Of any other queue, the history of the hour would be read in vain.
    archived = _read_archived_ends(connection, speeds, now)
    found = []
    for queue in queues:
        opened = open_tasks[queue]
        latest = [*ends[queue], *archived[queue]]
        recent = [each for each in latest if each.at >= now - CONSUMER_WINDOW]
        workers = {each.worker for each in recent if each.worker is not None}
        found.append(
            QueueBacklog(
                queue=queue,
                counted_at=waiting.counted_at,
                **waiting.by_queue.get(queue, {}),
                retrying=opened.retrying,
                running=opened.running,
                consumers=sorted(workers | opened.workers),
                ended_at=max((each.at for each in recent), default=None),
                per_second=speeds.get(queue, 0.0),
            )
        )
    return sorted(found, key=lambda each: (-(each.queued or 0), each.queue))


def _are_few(connection: Connection) -> bool:
    """Return whether the live tasks are few enough to be counted."""
    some = select(task.c.id).limit(MAX_COUNTED + 1).subquery()
    count = connection.scalars(select(func.count()).select_from(some)).one()
    return count <= MAX_COUNTED


def _count_waiting(
    connection: Connection, now: datetime
) -> Mapping[str, Mapping[str, Any]]:
    counts = (each._asdict() for each in count_queued(connection, now))
    return {each.pop("queue"): each for each in counts}


def _read_sample(connection: Connection, now: datetime) -> _Waiting:
    """Return the latest sample; the numbers are None without a sample."""
    of_minutes = backlog.c.tier == "minute"
    newest = func.max(backlog.c.at, type_=backlog.c.at.type)
    at = connection.scalar(select(newest).where(of_minutes, backlog.c.at <= now))
    if at is None:
        unknown = {"queued": None, "scheduled": None}
        queues = distinct_values(connection, task.c.queue)
        return _Waiting(now, dict.fromkeys(queues, unknown))
    query = select(backlog).where(of_minutes, backlog.c.at == at)
    return _Waiting(
        at,
        {
            row.queue: {
                "queued": row.queued_max,
                "scheduled": row.scheduled_max,
                "oldest_s": row.oldest_max_s,
            }
            for row in connection.execute(query.where(backlog.c.queue != ALL_QUEUES))
        },
    )


def _read_open_tasks(connection: Connection) -> Mapping[str, _OpenTasks]:
    """Return the running tasks, and those that are to be retried, by queue."""
    result = taskmeta.c
    of_message = select(task.c.queue).where(task.c.id == result.task_id)
    some = (
        select(
            result.status,
            func.coalesce(result.queue, of_message.scalar_subquery()).label("queue"),
            result.worker,
        )
        .where(text(IS_OPEN))
        .limit(MAX_ROWS)
        .subquery()
    )
    found: defaultdict[str, _OpenTasks] = defaultdict(_OpenTasks)
    columns = (some.c.status, some.c.queue, some.c.worker)
    query = select(*columns, func.count()).group_by(*columns)
    for status, queue, worker, count in connection.execute(query):
        if queue is None:
            continue
        if status == states.RETRY:
            found[queue].retrying += count
        elif status == states.STARTED or status not in STATUSES:
            found[queue].running += count
            found[queue].workers |= {worker} - {None}
    return found


class End(NamedTuple):
    """The end of a task, or the last one of a worker."""

    at: datetime
    worker: str | None


def read_newest_ends(connection: Connection) -> Mapping[str, Sequence[End]]:
    """Return the latest end of each worker by queue, from the newest live results."""
    result = taskmeta.c
    newest = (
        select(result.queue, result.worker, result.date_done)
        .where(text(IS_UNARCHIVED), result.queue.is_not(None))
        .order_by(result.date_done.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    at = func.max(newest.c.date_done, type_=newest.c.date_done.type)
    query = select(newest.c.queue, newest.c.worker, at).group_by(
        newest.c.queue, newest.c.worker
    )
    found: defaultdict[str, list[End]] = defaultdict(list)
    for queue, worker, ended_at in connection.execute(query):
        if ended_at is not None:
            found[queue].append(End(ended_at.replace(tzinfo=UTC), worker))
    return found


def _read_archived_ends(
    connection: Connection, queues: Collection[str], now: datetime
) -> Mapping[str, Sequence[End]]:
    """Return the last end of each worker in the latest archived tasks of queues."""
    since = now - CONSUMER_WINDOW

    def select_latest(queue: ColumnElement[str]) -> Select[Any]:
        columns = history.c
        query = select(columns.worker, columns.finished_at).where(
            on_days_since(since), columns.status.in_(RUN)
        )
        return latest_with(
            query, columns.queue, queue, columns.listed_at, CONSUMER_ROWS
        )

    found = defaultdict(list)
    rows = group_latest(connection, sorted(queues), select_latest, since=since)
    for queue, worker, _, ended_at in rows:
        found[queue].append(End(ended_at, worker))
    return found
