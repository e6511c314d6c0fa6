"""Counts of recent tasks by status and queue, however long the history is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Subquery,
    case,
    func,
    select,
    text,
)

from cadasta.workertoolbox.results._database.statuses import (
    QUEUED,
    SCHEDULED,
    STATUSES,
)
from cadasta.workertoolbox.results._database.tables import history, task
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD
from cadasta.workertoolbox.results._history.conditions import (
    is_live,
    shown_status,
)
from cadasta.workertoolbox.results._store.day_windows import (
    day_windows,
    on_days_since,
)
from cadasta.workertoolbox.results._store.filters import is_internal
from cadasta.workertoolbox.results._store.untracked import select_untracked_results

#: Maximum age of the tasks that are counted.
WINDOW = timedelta(hours=1)

#: Maximum number of rows that are read, the newest ones. PostgreSQL takes a few tenths
#: of a second for them.
MAX_ROWS = 20_000

#: Milliseconds after which PostgreSQL cancels a query.
TIMEOUT_MS = 5000

#: Maximum number of queues that are counted separately, as the number of labels of a
#: metric must be limited.
MAX_QUEUES = 50

#: Label of all other queues, and of custom states.
OTHER = "other"


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """Numbers of recent tasks: of the last hour.

    At most the newest 20,000 live tasks, by the receipt of their messages, and as many
    tasks in the history are counted.

    Attributes:
        tasks: Number of tasks by status and queue, without Celery's own, `celery.*`.
            Custom states are counted as `other`, and so are all queues except the 50
            with the most tasks.
        untracked: Number of results whose task no monitor has seen.
    """

    tasks: Mapping[tuple[str, str], int]
    untracked: int


@dataclass(frozen=True, slots=True)
class NewestTask:
    """The most recently published task that a monitor has stored.

    Attributes:
        scheduled_at: When it was published.
        seen_at: When the monitor received its message.
    """

    scheduled_at: datetime
    seen_at: datetime

    @property
    def lag(self) -> timedelta:
        """How long the message took to reach the monitor."""
        return self.seen_at - self.scheduled_at


def count_recent(engine: Engine) -> RecentCounts:
    """Count the tasks of the last hour, and the results whose task no monitor has seen.

    Raises:
        sqlalchemy.exc.DBAPIError: The database cannot be reached, takes more than five
            seconds, or does not let the role read `workertoolbox_task` or
            `celery_taskmeta`.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = {TIMEOUT_MS}"))
        now = datetime.now(UTC)
        return RecentCounts(
            _count_tasks(connection, now - WINDOW), count_untracked(connection, now)
        )


def find_newest_task(engine: Engine) -> NewestTask | None:
    """Find the newest task by the indexes on its publication; return None without any.

    Raises:
        sqlalchemy.exc.DBAPIError: The database cannot be reached, or does not let the
            role read `workertoolbox_task` and `workertoolbox_history`.
    """
    until = datetime.now(UTC) + MAX_LEAD
    query = (
        select(task.c.scheduled_at, task.c.seen_at)
        .where(task.c.scheduled_at <= until)
        .order_by(task.c.scheduled_at.desc())
        .limit(1)
    )
    archived = (
        select(history.c.scheduled_at, history.c.seen_at)
        .where(history.c.listed_at <= until, history.c.seen_at.is_not(None))
        .order_by(history.c.listed_at.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        rows = [*connection.execute(query)]
        for window in day_windows(connection):
            if rows and window.is_before(rows[0].scheduled_at):
                break
            rows += connection.execute(archived.where(*window.conditions()))
            rows.sort(key=lambda row: row.scheduled_at, reverse=True)
    return NewestTask(*rows[0]) if rows else None


def _count_tasks(
    connection: Connection, since: datetime
) -> Mapping[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for labels in (_select_live(since), _select_archived(since)):
        query = select(labels, func.count()).group_by(*labels.c)
        for status, queue, number in connection.execute(query):
            counts[status, queue or OTHER] += number
    return limit_labels(counts)


def _select_live(since: datetime) -> Subquery:
    """Return status and queue of live tasks."""
    newest = (
        select(task.c.id, task.c.name, task.c.queue, task.c.eta, task.c.scheduled_at)
        # Not by `scheduled_at`, which a publisher can set to a later time than that of
        # all other tasks.
        .where(task.c.seen_at >= since)
        .order_by(task.c.seen_at.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    before_result = case((newest.c.eta > datetime.now(UTC), SCHEDULED), else_=QUEUED)
    status = func.coalesce(shown_status(newest.c.id), before_result)
    return (
        select(status.label("status"), newest.c.queue)
        .where(newest.c.scheduled_at >= since, ~is_internal(newest.c.name))
        .subquery()
    )


def _select_archived(since: datetime) -> Subquery:
    """Return status and queue of tasks in the history with a message."""
    return (
        _newest_archived(since)
        .where(history.c.seen_at.is_not(None), ~is_internal(history.c.name))
        .subquery()
    )


def _newest_archived(since: datetime) -> Select[Any]:
    """Return a query for recently published tasks in the history."""
    return (
        select(history.c.status, history.c.queue)
        .where(
            on_days_since(since - MAX_LEAD),
            history.c.listed_at.between(since, datetime.now(UTC) + MAX_LEAD),
            ~is_live(history.c.id),
        )
        .order_by(history.c.listed_at.desc())
        .limit(MAX_ROWS)
    )


def count_untracked(connection: Connection, now: datetime) -> int:
    """Count the results of the last hour whose task no monitor has seen.

    At most the newest 20,000 live results, and as many tasks in the history, are read.
    """
    since = now - WINDOW
    live = select_untracked_results(since, MAX_ROWS)
    archived = _newest_archived(since).where(~history.c.tracked)
    return sum(
        connection.execute(
            select(func.count()).select_from(each.subquery())
        ).scalar_one()
        for each in (live, archived)
    )


def limit_labels(
    counts: Mapping[tuple[str, str], int],
) -> Mapping[tuple[str, str], int]:
    """Return counts in which small queues and custom states have the label `OTHER`."""
    by_queue: Counter[str] = Counter()
    for (_, queue), number in counts.items():
        by_queue[queue] += number
    largest = {queue for queue, _ in by_queue.most_common(MAX_QUEUES)}
    limited: Counter[tuple[str, str]] = Counter()
    for (status, queue), number in counts.items():
        label = (
            status if status in STATUSES else OTHER,
            queue if queue in largest else OTHER,
        )
        limited[label] += number
    return limited
