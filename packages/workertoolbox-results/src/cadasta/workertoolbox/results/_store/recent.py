"""Counts of recent tasks by status and queue, however long the history is."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from sqlalchemy import Connection, Engine, case, func, select, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._database.statuses import (
    QUEUED,
    SCHEDULED,
    STATUSES,
)
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import (
    has_message,
    shown_status,
)
from cadasta.workertoolbox.results._history.watermark import CLOCK_SKEW
from cadasta.workertoolbox.results._store.filters import is_internal

_logger = logging.getLogger(__name__)

#: Maximum age of the tasks that are counted.
WINDOW = timedelta(hours=1)

#: Maximum number of rows that are read, the newest ones. PostgreSQL takes a few tenths
#: of a second for them.
MAX_ROWS = 20_000

#: Age from which a result without a message counts as untracked. Until then the message
#: may still arrive.
UNTRACKED_AFTER = timedelta(minutes=1)

#: Milliseconds after which PostgreSQL cancels a query.
TIMEOUT_MS = 5000

#: Seconds for which counts are reused.
MAX_AGE_S = 15.0

#: Seconds for which a thread waits while another one queries the database.
LOCK_TIMEOUT_S = 5.0

#: Maximum number of queues that are counted separately, as the number of labels of a
#: metric must be limited.
MAX_QUEUES = 50

#: Names under which Celery stores a failure of what is not a task.
PSEUDO_TASKS = ("celery.chord", "celery.group")

#: Label of all other queues, and of custom states.
OTHER = "other"


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """Numbers of recent tasks: of the last hour, among the last 20,000 that were seen.

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


class RecentCountsCache:
    """A cache of counts that threads share, so that one query serves all of them.

    Args:
        max_age_s: Seconds for which counts are reused.
    """

    def __init__(self, engine: Engine, *, max_age_s: float = MAX_AGE_S) -> None:
        self._engine = engine
        self._max_age_s = max_age_s
        self._lock = Lock()
        self._counted_at = float("-inf")
        self._counts: RecentCounts | None = None

    def get(self) -> RecentCounts | None:
        """Return the counts, or None if the database does not answer."""
        # A server that does not answer blocks one thread. The others give up instead of
        # querying it one after the other.
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_S):
            return None
        try:
            if time.monotonic() - self._counted_at >= self._max_age_s:
                self._counts = None
                self._counts = count_recent(self._engine)
                self._counted_at = time.monotonic()
        except DBAPIError as error:
            _logger.warning("recent tasks cannot be counted: %s", one_line(error))
        finally:
            self._lock.release()
        return self._counts


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
        since = datetime.now(UTC) - WINDOW
        return RecentCounts(
            _count_tasks(connection, since), _count_untracked(connection, since)
        )


def find_newest_task(engine: Engine) -> NewestTask | None:
    """Find the newest task by the index on `scheduled_at`; return None without tasks.

    Raises:
        sqlalchemy.exc.DBAPIError: The database cannot be reached, or does not let the
            role read `workertoolbox_task`.
    """
    query = (
        select(task.c.scheduled_at, task.c.seen_at)
        .where(task.c.scheduled_at <= datetime.now(UTC) + CLOCK_SKEW)
        .order_by(task.c.scheduled_at.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else NewestTask(*row)


def _count_tasks(
    connection: Connection, since: datetime
) -> Mapping[tuple[str, str], int]:
    now = datetime.now(UTC)
    newest = (
        select(task.c.id, task.c.name, task.c.queue, task.c.eta, task.c.scheduled_at)
        # Not by `scheduled_at`, which whoever publishes can set to a later time than
        # that of all other tasks.
        .where(task.c.seen_at >= since)
        .order_by(task.c.seen_at.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    before_result = case((newest.c.eta > now, SCHEDULED), else_=QUEUED)
    status = func.coalesce(shown_status(newest.c.id), before_result)
    labels = (
        select(status.label("status"), newest.c.queue)
        .where(newest.c.scheduled_at >= since, ~is_internal(newest.c.name))
        .subquery()
    )
    query = select(labels, func.count()).group_by(*labels.c)
    counts = {(status, queue): n for status, queue, n in connection.execute(query)}
    return limit_labels(counts)


def _count_untracked(connection: Connection, since: datetime) -> int:
    newest = (
        select(taskmeta.c.task_id)
        .where(taskmeta.c.date_done >= naive_utc(since))
        .where(taskmeta.c.date_done < naive_utc(datetime.now(UTC) - UNTRACKED_AFTER))
        .where(taskmeta.c.not_run.is_(None))
        .where(func.coalesce(taskmeta.c.name, "").not_in(PSEUDO_TASKS))
        .order_by(taskmeta.c.date_done.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    has_no_message = ~has_message(newest.c.task_id)
    query = select(func.count()).select_from(newest).where(has_no_message)
    return connection.execute(query).scalar_one()


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
