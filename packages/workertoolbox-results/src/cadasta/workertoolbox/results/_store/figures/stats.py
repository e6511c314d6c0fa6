"""Statistics of ended tasks, by name or queue, with those of the window before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from celery import states
from sqlalchemy import Connection, Row, func, select

from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._database.types import FIRST, LAST
from cadasta.workertoolbox.results._errors import InvalidGrouping
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_end
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.figures.archived_until import archived_until
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
    is_within,
)

#: What the rows of statistics can be about.
Grouping = Literal["name", "queue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(JsonRecord):
    """Statistics of the tasks that ended in a window.

    Attributes:
        count: Number of tasks that ended.
        statuses: Their number by status, the most frequent first.
        per_second: Tasks that ended per second, on average.
        failure_rate: The share of tasks that ended as `FAILURE` or `LOST`, from 0 to 1;
            None without tasks.
        retries: How often these tasks were retried.
        redeliveries: Number of their runs that were lost, or were duplicates.
        failed_attempts: Number of attempts that failed in the window and were retried.
        waited: How long the tasks waited from the time when they could run.
        ran: How long they ran.
        took: How long they took from their first publication to their end, if a worker
            has run them.
    """

    count: int
    statuses: Mapping[str, int]
    per_second: float
    failure_rate: float | None
    retries: int
    redeliveries: int
    failed_attempts: int
    waited: Percentiles
    ran: Percentiles
    took: Percentiles

    @property
    def failed(self) -> int:
        """Number of tasks that ended as `FAILURE` or `LOST`."""
        return sum(self.statuses.get(status, 0) for status in FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRow:
    """Statistics of the tasks with one name or queue, or of all tasks.

    Attributes:
        value: The name or the queue. It is None for all tasks, and for those whose name
            or queue is not known.
        now: Statistics of the window.
        before: Statistics of the window before; None if it began before the first task
            that figures are kept of.
    """

    value: str | None
    now: Stats
    before: Stats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsTable:
    """Statistics of a window, and of the window of the same length before it.

    Attributes:
        since: The start of the window.
        until: Its end, which is not included. The window before ends at `since`.
        total: Statistics of all tasks.
        rows: Statistics by name or queue, most tasks first; empty without a grouping.
        rest: Statistics of the names or queues that have no row; None if all have one.
        rest_size: Their number.
    """

    since: datetime
    until: datetime
    total: StatsRow
    rows: Sequence[StatsRow] = ()
    rest: StatsRow | None = None
    rest_size: int = 0


#: The length of a window from which the minutes, and the hours, at its ends are left
#: out if it is coarse. They are far more rows than the days in between.
COARSE = {"minute": timedelta(hours=12), "hour": timedelta(days=14)}


class _Window(NamedTuple):
    """Rows of the rollups in a window, whose first columns are `value` and `status`."""

    since: datetime
    until: datetime
    rows: Sequence[Row[Any]]


def read_stats(
    connection: Connection,
    *,
    since: datetime,
    until: datetime | None,
    by: Grouping | None = None,
    limit: int = 20,
    internal: bool = False,
    gone: bool = False,
    coarse: bool = False,
    **filters: str | None,
) -> StatsTable:
    """Return statistics; see `TaskStore.stats`.

    Args:
        coarse: Whether a long window may begin earlier; see `COARSE`.
        filters: Values of columns of `workertoolbox_rollup`; None for any.

    Raises:
        InvalidGrouping: `by` is not a grouping.
    """
    # The rollups have no worker. Only the history does, and reading the times of each
    # task takes seconds for a day with a million tasks.
    if by is not None and by not in get_args(Grouping):
        raise InvalidGrouping(by)
    check_years(since, until or since)
    is_open = until is None
    if until is None:
        known_until = archived_until(connection, datetime.now(UTC))
        until = max(known_until, since + TIERS["minute"])
    check_window(since, until)
    complete = complete_since(connection, rollup)
    if coarse:
        complete = _without_short(complete, until - since)
    conditions = [*same(filters)]
    if filters.get("name") is None and not internal:
        conditions.append(~is_internal(rollup.c.name))

    # Without a grouping, no value is shown; PostgreSQL does not group by a constant.
    sums = select_sums(by or "tier")

    def read(since: datetime, until: datetime) -> _Window:
        tiles = cover(since, until, complete)
        query = sums.where(is_within(rollup, tiles), *conditions)
        rows = connection.execute(query).all()
        return _Window(tiles[0].since, tiles[-1].until, rows)

    prefer_indexes(connection)
    now, before = read(since, until), None
    if is_open:
        # Not the end of the hour or the day, which may be ahead.
        end = interval_end(until, TIERS["minute"])
        now = now._replace(until=min(now.until, end))
    earlier = now.since - (now.until - now.since)
    first = _first_interval(connection, complete)
    if first is not None and first <= earlier:
        before = read(earlier, now.since)
    return _table(now, before, limit if by else 0, gone=gone)


def _without_short(
    complete: Mapping[str, datetime], length: timedelta
) -> Mapping[str, datetime]:
    """Return the tiers for a window without those that are short compared with it."""
    left_out = [tier for tier, shortest in COARSE.items() if length >= shortest]
    return {**complete, **dict.fromkeys(left_out, LAST)}


def _first_interval(
    connection: Connection, complete: Mapping[str, datetime]
) -> datetime | None:
    """Return the start of the first interval that the rollups have, or None."""
    tier = "minute" if complete["minute"] == FIRST else "day"
    first = func.min(rollup.c.at, type_=rollup.c.at.type)
    found: datetime | None = connection.scalar(
        select(first).where(rollup.c.tier == tier)
    )
    return found


def _table(
    now: _Window, before: _Window | None, limit: int, *, gone: bool
) -> StatsTable:
    counts: Counter[str] = Counter()
    if gone and before is not None:
        counts.update(dict.fromkeys((each.value for each in before.rows), 0))
    for each in now.rows:
        counts[each.value] += 0 if each.status == states.RETRY else each.tasks
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    shown = ranked[:limit]
    windows = [now] if before is None else [now, before]
    sums = [_sums(each, {*shown}) for each in windows]

    def row(value: str | None, *keys: str | None) -> StatsRow:
        both = [
            _stats(window, merge_sums(*(found[key] for key in keys if key in found)))
            for window, found in zip(windows, sums, strict=True)
        ]
        return StatsRow(value=value, now=both[0], before=[*both, None][1])

    rest_size = len(ranked) - len(shown) if limit else 0
    return StatsTable(
        since=now.since,
        until=now.until,
        total=row(None, None, *shown),
        rows=[row(value or None, value) for value in shown],
        rest=row(None, None) if rest_size else None,
        rest_size=rest_size,
    )


def _sums(window: _Window, shown: Collection[str]) -> dict[str | None, RollupSum]:
    """Return the sums of rows by their values, and that of the others as None."""
    groups = defaultdict(list)
    for row in window.rows:
        groups[row.value if row.value in shown else None].append(row)
    return {value: sum_rows(rows) for value, rows in groups.items()}


def _stats(window: _Window, total: RollupSum) -> Stats:
    failed = sum(total.statuses[status] for status in FAILED)
    return Stats(
        count=total.tasks,
        statuses=dict(total.statuses.most_common()),
        per_second=total.tasks / (window.until - window.since).total_seconds(),
        failure_rate=failed / total.tasks if total.tasks else None,
        retries=total.retries,
        redeliveries=total.redeliveries,
        failed_attempts=total.failed_attempts,
        waited=percentiles_of(total.waits),
        ran=percentiles_of(total.runs),
        took=percentiles_of(total.totals),
    )
