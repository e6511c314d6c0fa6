"""How many tasks of a queue end in a second, from the minutes of the rollups."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, case, func, select

from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._store.figures.archived_until import archived_until

#: The window of the throughput: minutes that are archived.
THROUGHPUT_WINDOW = timedelta(minutes=10)

#: How long ago a worker has run a task of a queue that it probably still consumes.
CONSUMER_WINDOW = timedelta(hours=1)


def read_speeds(connection: Connection, now: datetime) -> Mapping[str, float]:
    """Return the ended tasks per second of each queue that had some in an hour."""
    until = archived_until(connection, now)
    is_counted = and_(
        rollup.c.at >= until - THROUGHPUT_WINDOW,
        rollup.c.at < until,
    )
    counted = func.sum(case((is_counted, rollup.c.count)))
    query = (
        select(rollup.c.queue, counted)
        .where(
            rollup.c.tier == "minute",
            rollup.c.at >= until - CONSUMER_WINDOW,
            rollup.c.queue != "",
        )
        .group_by(rollup.c.queue)
    )
    seconds = THROUGHPUT_WINDOW.total_seconds()
    return {
        queue: float(count or 0) / seconds for queue, count in connection.execute(query)
    }


def read_speed(connection: Connection, queue: str, now: datetime) -> float:
    """Return the ended tasks per second of a queue, as `read_speeds` does."""
    until = archived_until(connection, now)
    query = select(func.sum(rollup.c.count)).where(
        rollup.c.tier == "minute",
        rollup.c.at >= until - THROUGHPUT_WINDOW,
        rollup.c.at < until,
        rollup.c.queue == queue,
    )
    count = connection.scalar(query)
    return float(count or 0) / THROUGHPUT_WINDOW.total_seconds()
