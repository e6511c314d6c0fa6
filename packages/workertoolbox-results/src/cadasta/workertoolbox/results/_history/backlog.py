"""Samples of the backlog: how many tasks are queued, and for how long.

One sample a minute is added to the figures of the minute, the hour and the day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, insert, select
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import backlog, task, taskmeta
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start

#: The name of all queues together. Messages always have a queue with a name.
ALL_QUEUES = ""


def sample_backlog(connection: Connection, now: datetime) -> bool:
    """Count the tasks without a result, unless this minute has a sample.

    Args:
        connection: In a transaction that holds the archiver's lock. Without the lock, a
            second sample of the minute fails.

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
    queues = list(_count(connection, now))
    minute, *others = (
        [{"tier": tier, "at": at, **queue} for queue in queues]
        for tier, at in starts.items()
    )
    connection.execute(insert(backlog), minute)
    for rows in others:
        connection.execute(_add_samples(connection.dialect.name), rows)
    return True


def _count(connection: Connection, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the columns of a sample for each queue, sorted, all queues first."""
    is_ahead = task.c.eta > now
    is_due = func.coalesce(task.c.eta, now, type_=task.c.eta.type) <= now
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
        )
        .where(~has_result.exists())
        .group_by(task.c.queue)
        .order_by(task.c.queue)
    )
    counts = [
        (queue, queued, scheduled, _age_s(due_at, now))
        for queue, queued, scheduled, due_at in connection.execute(query)
    ]
    _, *columns = zip((ALL_QUEUES, 0, 0, 0.0), *counts, strict=True)
    queued, scheduled, ages_s = columns
    yield _sample(ALL_QUEUES, sum(queued), sum(scheduled), max(ages_s))
    yield from (_sample(*each) for each in counts if each[0] != ALL_QUEUES)


def _age_s(due_at: datetime | None, now: datetime) -> float:
    # The clock of the publisher may be ahead.
    return max((now - (due_at or now)).total_seconds(), 0.0)


def _sample(queue: str, queued: int, scheduled: int, age_s: float) -> dict[str, Any]:
    return {
        "queue": queue,
        "samples": 1,
        "queued_sum": queued,
        "queued_max": queued,
        "scheduled_sum": scheduled,
        "scheduled_max": scheduled,
        "oldest_max_s": age_s,
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
