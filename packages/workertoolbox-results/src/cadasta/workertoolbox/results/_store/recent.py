"""Recent tasks by status and queue, at a cost that does not grow with the tables."""

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

from cadasta.workertoolbox.results._database.statuses import (
    QUEUED,
    SCHEDULED,
    STATUSES,
)
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._store.filters import is_internal

_logger = logging.getLogger(__name__)

#: How far back to look.
SPAN = timedelta(hours=1)

#: Most rows to look at, the newest: a few tenths of a second's work for PostgreSQL.
ROWS = 20_000

#: Time for a copy to arrive before its task is called untracked.
GRACE = timedelta(minutes=1)

#: Milliseconds after which PostgreSQL gives up.
TIMEOUT_MS = 5000

#: Seconds for which an answer is used again.
FRESH_S = 15.0

#: Seconds to wait for another thread that asks the database.
WAIT_S = 5.0

#: Most queues to tell apart; the label of all others, and of unknown statuses.
QUEUES = 50
OTHER = "other"


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """Tasks of the last hour, of which the newest 20,000 are counted.

    Attributes:
        tasks: How many there are of each status and queue, without Celery's own,
            `celery.*`. Statuses of a task's own are one, and queues after the 50 with
            most tasks are one.
        untracked: Results whose task no monitor has seen.
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
    """The tasks of the last hour, for many who ask.

    Args:
        fresh_s: Seconds for which an answer of the database is used again.
    """

    def __init__(self, engine: Engine, *, fresh_s: float = FRESH_S) -> None:
        self._engine = engine
        self._fresh_s = fresh_s
        self._asking = Lock()
        self._asked_at = float("-inf")
        self._recent: RecentCounts | None = None

    def get(self) -> RecentCounts | None:
        """Return the counts, or None if the database does not answer."""
        # A server that says nothing holds up one thread, and not one after the other.
        if not self._asking.acquire(timeout=WAIT_S):
            return None
        try:
            if time.monotonic() - self._asked_at >= self._fresh_s:
                self._recent = None
                self._recent = count_recent(self._engine)
                self._asked_at = time.monotonic()
        except DBAPIError as error:
            _logger.warning("recent tasks cannot be counted: %s", error.orig)
        finally:
            self._asking.release()
        return self._recent


def count_recent(engine: Engine) -> RecentCounts:
    """Count the tasks of the last hour, and the results whose task nobody has seen.

    Raises:
        sqlalchemy.exc.DBAPIError: The database cannot be reached, takes more than five
            seconds, or does not let us read `workertoolbox_task` or `celery_taskmeta`.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = {TIMEOUT_MS}"))
        since = datetime.now(UTC) - SPAN
        return RecentCounts(_tasks(connection, since), _untracked(connection, since))


def find_newest_task(engine: Engine) -> NewestTask | None:
    """Return the newest task, by the index on `scheduled_at`, or None without tasks.

    Raises:
        sqlalchemy.exc.DBAPIError: The database cannot be reached, or does not let us
            read `workertoolbox_task`.
    """
    query = (
        select(task.c.scheduled_at, task.c.seen_at)
        .order_by(task.c.scheduled_at.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else NewestTask(*row)


def _tasks(connection: Connection, since: datetime) -> Mapping[tuple[str, str], int]:
    newest = (
        select(task.c.id, task.c.name, task.c.queue, task.c.eta)
        .where(task.c.scheduled_at >= since)
        .order_by(task.c.scheduled_at.desc())
        .limit(ROWS)
        .subquery()
    )
    # Looked up for each row, by its index: a join would read a whole table.
    result = select(taskmeta.c.status).where(taskmeta.c.task_id == newest.c.id)
    waiting = case((newest.c.eta > datetime.now(UTC), SCHEDULED), else_=QUEUED)
    status = func.coalesce(result.scalar_subquery(), waiting)
    own = is_internal(newest.c.name)
    shown = select(status.label("state"), newest.c.queue).where(~own).subquery()
    query = select(shown, func.count()).group_by(*shown.c)
    counts = {(status, queue): n for status, queue, n in connection.execute(query)}
    return bounded(counts)


def _untracked(connection: Connection, since: datetime) -> int:
    newest = (
        select(taskmeta.c.task_id)
        .where(taskmeta.c.date_done >= naive_utc(since))
        .where(taskmeta.c.date_done < naive_utc(datetime.now(UTC) - GRACE))
        .order_by(taskmeta.c.date_done.desc())
        .limit(ROWS)
        .subquery()
    )
    # As above.
    seen = select(task.c.id).where(task.c.id == newest.c.task_id).scalar_subquery()
    query = select(func.count()).select_from(newest).where(seen.is_(None))
    return connection.execute(query).scalar_one()


def bounded(counts: Mapping[tuple[str, str], int]) -> Mapping[tuple[str, str], int]:
    """Put rare queues together, and statuses that are not Celery's or ours."""
    sizes: Counter[str] = Counter()
    for (_, queue), number in counts.items():
        sizes[queue] += number
    shown = {queue for queue, _ in sizes.most_common(QUEUES)}
    together: Counter[tuple[str, str]] = Counter()
    for (status, queue), number in counts.items():
        label = (
            status if status in STATUSES else OTHER,
            queue if queue in shown else OTHER,
        )
        together[label] += number
    return together
