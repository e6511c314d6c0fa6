"""Figures about ended tasks and about the backlog, in any window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from cadasta.workertoolbox.results._database.tables import backlog, rollup
from cadasta.workertoolbox.results._history.backlog import ALL_QUEUES
from cadasta.workertoolbox.results._history.tiers import interval_start
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.figures.rollup_sums import (
    FAILED,
    Percentiles,
    RollupSum,
    merge_sums,
    percentiles_of,
    prefer_indexes,
    same,
    select_sums,
    sum_rows,
)
from cadasta.workertoolbox.results._store.rows.filters import is_internal
from cadasta.workertoolbox.results._store.rows.windows import (
    check_window,
    check_years,
    complete_since,
    cover,
    cover_steps,
    is_within,
)


@dataclass(frozen=True, slots=True)
class TaskFigures(JsonRecord):
    """Figures about the tasks that ended in a window.

    Attributes:
        since: The start of the window.
        until: Its end, which is not included.
        count: Number of tasks that ended.
        statuses: Their number by status, the most frequent first.
        retries: How often these tasks were retried.
        redeliveries: Number of their runs that were lost, or were duplicates.
        failed_attempts: Number of attempts that failed in the window and were retried.
        waited: How long the tasks waited from the time when they could run.
        ran: How long they ran.
        took: How long they took from their first publication to their end, if a worker
            has run them.
        series: The same for each step of the window, if one was asked for.
    """

    since: datetime
    until: datetime
    count: int
    statuses: Mapping[str, int]
    retries: int
    redeliveries: int
    failed_attempts: int
    waited: Percentiles
    ran: Percentiles
    took: Percentiles
    series: Sequence[TaskFigures] = ()

    @property
    def failed(self) -> int:
        """Number of tasks that ended as `FAILURE` or `LOST`."""
        return sum(self.statuses.get(status, 0) for status in FAILED)


@dataclass(frozen=True, slots=True)
class BacklogSample(JsonRecord):
    """The backlog of a queue in an interval, from one sample a minute.

    Attributes:
        since: The start of the interval.
        until: Its end, which is not included.
        queue: The queue, or None for all queues together.
        queued: Number of tasks that could run, on average.
        queued_max: Their largest number in a sample.
        scheduled: Number of tasks with an ETA ahead, on average.
        scheduled_max: Their largest number in a sample.
        oldest_s: The longest wait of a task in seconds, from when it could run.
    """

    since: datetime
    until: datetime
    queue: str | None
    queued: float
    queued_max: int
    scheduled: float
    scheduled_max: int
    oldest_s: float


def read_figures(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    step: timedelta | None = None,
    internal: bool = True,
    **filters: str | None,
) -> TaskFigures:
    """Return figures; see `TaskStore.figures`.

    Args:
        filters: Values of columns of `workertoolbox_rollup`; None for any.
    """
    check_years(since, until)
    check_window(since, until)
    complete = complete_since(connection, rollup)
    if step is None:
        tiles = cover(since, until, complete)
    else:
        tile, step = cover_steps(since, until, step, complete)
        tiles = [tile]
    query = select_sums("at").where(is_within(rollup, tiles), *same(filters))
    if not internal:
        query = query.where(~is_internal(rollup.c.name))
    prefer_indexes(connection)
    rows = connection.execute(query)
    start, end = tiles[0].since, tiles[-1].until
    if step is None:
        return _figures(start, end, sum_rows(rows))
    groups = defaultdict(list)
    for row in rows:
        groups[interval_start(row.value, step)].append(row)
    sums = {at: sum_rows(group) for at, group in groups.items()}
    nothing = merge_sums()
    series = [
        _figures(at, at + step, sums.get(at, nothing))
        for at in _starts(start, end, step)
    ]
    return replace(_figures(start, end, merge_sums(*sums.values())), series=series)


def _figures(since: datetime, until: datetime, total: RollupSum) -> TaskFigures:
    return TaskFigures(
        since=since,
        until=until,
        count=total.tasks,
        statuses=dict(total.statuses.most_common()),
        retries=total.retries,
        redeliveries=total.redeliveries,
        failed_attempts=total.failed_attempts,
        waited=percentiles_of(total.waits),
        ran=percentiles_of(total.runs),
        took=percentiles_of(total.totals),
    )


def _starts(since: datetime, until: datetime, step: timedelta) -> Sequence[datetime]:
    return [since + number * step for number in range((until - since) // step)]


def read_backlog(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    step: timedelta,
    queue: str | None = None,
) -> Sequence[BacklogSample]:
    """Return samples of the backlog; see `TaskStore.backlog_samples`."""
    check_years(since, until)
    check_window(since, until)
    complete = complete_since(connection, backlog)
    tile, step = cover_steps(since, until, step, complete)
    query = select(backlog).where(is_within(backlog, [tile]))
    if queue is not None:
        query = query.where(backlog.c.queue.in_([queue, ALL_QUEUES]))
    groups = defaultdict(list)
    for row in connection.execute(query):
        groups[interval_start(row.at, step), row.queue].append(row)
    totals = {
        at: sum(row.samples for row in rows)
        for (at, name), rows in groups.items()
        if name == ALL_QUEUES
    }
    return [
        _sample(at, at + step, name, rows, samples=totals[at])
        for (at, name), rows in sorted(groups.items())
        if queue in (None, name)
    ]


def _sample(
    since: datetime,
    until: datetime,
    queue: str,
    rows: Sequence[Row[Any]],
    *,
    samples: int,
) -> BacklogSample:
    """Return the sum of rows.

    Args:
        samples: Number of all samples, including those without tasks in the queue.
    """
    return BacklogSample(
        since=since,
        until=until,
        queue=None if queue == ALL_QUEUES else queue,
        queued=sum(row.queued_sum for row in rows) / samples,
        queued_max=max(row.queued_max for row in rows),
        scheduled=sum(row.scheduled_sum for row in rows) / samples,
        scheduled_max=max(row.scheduled_max for row in rows),
        oldest_s=max(row.oldest_max_s for row in rows),
    )
