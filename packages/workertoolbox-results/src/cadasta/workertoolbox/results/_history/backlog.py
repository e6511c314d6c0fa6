"""Samples of the backlog: how many tasks are queued, and for how long.

One sample a minute is added to the figures of the minute, the hour and the day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, select
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import backlog, task, taskmeta
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.outcomes import is_outcome_expected
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start

#: The name of all queues together. Messages always have a queue with a name.
ALL_QUEUES = ""


class Queued(NamedTuple):
    """The tasks of a queue without a result.

    Attributes:
        queue: The queue.
        queued: Number of tasks that can run.
        scheduled: Number of tasks with an ETA ahead.
        oldest_s: The longest wait in seconds, from when a queued task could run.
        unknown: Number of tasks that could run and may have: their results are stored
            elsewhere.
    """

    queue: str
    queued: int
    scheduled: int
    oldest_s: float
    unknown: int = 0


def sample_backlog(
    connection: Connection, now: datetime, faulty: FaultyRows | None = None
) -> bool:
    """Count the tasks without a result, unless this minute has a sample.

    Args:
        connection: In a transaction that holds the archiver's lock. Without the lock, a
            second sample of the minute fails.
        faulty: Leaves out figures to which the sample cannot be added.

    Returns:
        Whether a sample was taken.
    """
    starts = {tier: interval_start(now, length) for tier, length in TIERS.items()}
    is_sampled = select(backlog.c.at).where(
        backlog.c.tier == "minute",
        backlog.c.at == starts["minute"],
        backlog.c.queue == ALL_QUEUES,
    )
    if connection.scalar(is_sampled) is not None:
        return False
    queues = list(_samples(count_queued(connection, now)))
    minute, *others = (
        [{"tier": tier, "at": at, **queue} for queue in queues]
        for tier, at in starts.items()
    )
    connection.execute(insert(backlog), minute)
    add = _add_samples(connection.dialect.name)

    def write(some: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        connection.execute(add, some)
        return some

    faulty = faulty or FaultyRows()
    for rows in others:
        faulty.process(connection, rows, write, what="backlog of", key=_interval)
    return True


def _interval(row: dict[str, Any]) -> str:
    return f"{row['tier']} {row['at']:%Y-%m-%dT%H:%M} {row['queue'] or 'all queues'}"


def count_queued(connection: Connection, now: datetime) -> Sequence[Queued]:
    """Count the tasks without a result by queue, and return them sorted by queue.

    Those whose results are stored elsewhere may have run, so that they are not queued.
    """
    is_ahead = task.c.eta > now
    can_run = func.coalesce(task.c.eta, now, type_=task.c.eta.type) <= now
    is_due = and_(can_run, is_outcome_expected(now))
    due_at = case(
        (task.c.eta > task.c.scheduled_at, task.c.eta), else_=task.c.scheduled_at
    )
    has_result = select(taskmeta.c.task_id).where(taskmeta.c.task_id == task.c.id)
    query = (
        select(
            task.c.queue,
            func.count().filter(is_due),
            func.count().filter(is_ahead),
            func.min(due_at).filter(is_due),
            func.count().filter(and_(can_run, ~is_due)),
        )
        .where(~has_result.exists())
        .group_by(task.c.queue)
        .order_by(task.c.queue)
    )
    return [
        Queued(queue, queued, scheduled, _age_s(due_at, now), unknown)
        for queue, queued, scheduled, due_at, unknown in connection.execute(query)
    ]


def _age_s(due_at: datetime | None, now: datetime) -> float:
    # The clock of the publisher may be ahead.
    return max((now - (due_at or now)).total_seconds(), 0.0)


def _samples(counts: Sequence[Queued]) -> Iterator[dict[str, Any]]:
    """Yield the columns of a sample for each queue, all queues first.

    A queue is left out if it is not known how many of its tasks wait. Otherwise a
    scaler would take it for empty, and stop its workers.
    """
    known = (each for each in counts if each.queued or not each.unknown)
    together = Queued(
        ALL_QUEUES,
        sum(each.queued for each in counts),
        sum(each.scheduled for each in counts),
        max((each.oldest_s for each in counts), default=0.0),
    )
    for each in (together, *(each for each in known if each.queue != ALL_QUEUES)):
        yield {
            "queue": each.queue,
            "samples": 1,
            "queued_sum": each.queued,
            "queued_max": each.queued,
            "scheduled_sum": each.scheduled,
            "scheduled_max": each.scheduled,
            "oldest_max_s": each.oldest_s,
        }


def _add_samples(dialect: str) -> Insert:
    insert = insert_into(backlog, dialect)
    changes: dict[str, ColumnElement[Any]] = {}
    for old in backlog.c:
        new = insert.excluded[old.name]
        if old.name.endswith(("_max", "_max_s")):
            changes[old.name] = case((new > old, new), else_=old)
        elif not old.primary_key:
            changes[old.name] = old + new
    return insert.on_conflict_do_update(
        index_elements=[*backlog.primary_key.columns], set_=changes
    )
