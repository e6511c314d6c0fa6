"""Windows of time, and the intervals that cover them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    func,
    or_,
    select,
)

from cadasta.workertoolbox.results._database.types import FIRST
from cadasta.workertoolbox.results._errors import InvalidWindow
from cadasta.workertoolbox.results._history.tiers import (
    TIERS,
    interval_end,
    interval_start,
)

#: Maximum number of steps of a series: more than the minutes of a week.
MAX_STEPS = 20_000

#: The years of windows of figures. A window beyond them would end, or the one before
#: it would begin, where Python has no dates any more.
YEARS = range(1800, 2300)

_MINUTE, _HOUR, _DAY = TIERS.values()


class Tile(NamedTuple):
    """Successive intervals of one tier, up to `until`, which is not included."""

    tier: str
    since: datetime
    until: datetime


def complete_since(connection: Connection, table: Table) -> Mapping[str, datetime]:
    """Return the instant from which a table has the intervals of each tier.

    If a longer tier begins earlier, older intervals of a tier were deleted.
    """
    values = iter(connection.execute(_select_ends(table)).one())
    ends = dict(zip(TIERS, zip(values, values, strict=True), strict=True))
    since = dict.fromkeys(TIERS, FIRST)
    for tier, longer in combinations(TIERS, 2):
        first, _ = ends[tier]
        longer_first, longer_last = ends[longer]
        if longer_first is None:
            continue
        if first is None:
            since[tier] = longer_last + TIERS[longer]
        elif longer_first < interval_start(first, TIERS[longer]):
            since[tier] = first
    return since


@cache
def _select_ends(table: Table) -> Select[Any]:
    """Return the query for the first and the last interval of each tier.

    Python needs longer to build it than PostgreSQL to execute it.
    """
    at, tier = table.c.at, table.c.tier
    columns = [
        select(end(at, type_=at.type)).where(tier == each).scalar_subquery()
        for each in TIERS
        for end in (func.min, func.max)
    ]
    # Inside of a limit: PostgreSQL would search for an instant each time that it is
    # compared with those that Python can represent.
    return select(select(*columns).limit(1).subquery())


def cover(
    since: datetime, until: datetime, complete: Mapping[str, datetime]
) -> Sequence[Tile]:
    """Return the fewest tiles that cover a window of whole minutes.

    Where the minutes were deleted, the window is extended to whole hours, or days.

    Args:
        complete: The instant from which there are intervals of each tier.
    """
    start, end = interval_start(since, _MINUTE), interval_end(until, _MINUTE)
    for tier, length in (("minute", _HOUR), ("hour", _DAY)):
        if start < min(complete[tier], interval_end(start, length)):
            start = interval_start(start, length)
        if max(interval_start(end, length), start) < min(complete[tier], end):
            end = interval_end(end, length)
    return _tiles(start, end, [*TIERS])


def _tiles(start: datetime, end: datetime, tiers: Sequence[str]) -> list[Tile]:
    if start >= end:
        return []
    *shorter, tier = tiers
    first, last = interval_end(start, TIERS[tier]), interval_start(end, TIERS[tier])
    if first >= last:
        return _tiles(start, end, shorter)
    return [
        *_tiles(start, first, shorter),
        Tile(tier, first, last),
        *_tiles(last, end, shorter),
    ]


def cover_steps(
    since: datetime,
    until: datetime,
    step: timedelta,
    complete: Mapping[str, datetime],
) -> tuple[Tile, timedelta]:
    """Return the intervals of a window of whole steps, and the step.

    The step is an hour or a day if the shorter intervals were deleted.

    Raises:
        InvalidWindow: The step is not a whole number of minutes, or there are too many.
    """
    if step < _MINUTE or step % _MINUTE:
        raise InvalidWindow(f"step must be a whole number of minutes, got {step}")
    tier = next(tier for tier in [*TIERS][::-1] if not step % TIERS[tier])
    while tier != "day" and interval_start(since, step) < complete[tier]:
        tier = {"minute": "hour", "hour": "day"}[tier]
        step += -step % TIERS[tier]
    start, end = interval_start(since, step), interval_end(until, step)
    if (end - start) // step > MAX_STEPS:
        raise InvalidWindow(
            f"{(end - start) // step} steps of {step} are more than the maximum of "
            f"{MAX_STEPS}; choose a longer step or a shorter window"
        )
    return Tile(tier, start, end), step


def is_within(table: Table, tiles: Sequence[Tile]) -> ColumnElement[bool]:
    """Return the condition that a row is an interval of one of the tiles."""
    columns = table.c
    return or_(
        *(
            and_(columns.tier == tier, columns.at >= since, columns.at < until)
            for tier, since, until in tiles
        )
    )


def check_years(*instants: datetime) -> None:
    """Refuse a window of figures that is too far from the present.

    Raises:
        InvalidWindow: One of its ends is in none of `YEARS`.
    """
    for at in instants:
        if at.year not in YEARS:
            raise InvalidWindow(
                f"figures are kept for the years {YEARS[0]} to {YEARS[-1]}, "
                f"not for {at.year}"
            )


def check_window(since: datetime, until: datetime) -> None:
    """Refuse a window that ends before it begins.

    Raises:
        InvalidWindow: The window ends before it begins.
    """
    if since >= until:
        raise InvalidWindow(f"since {since} must be before until {until}")
