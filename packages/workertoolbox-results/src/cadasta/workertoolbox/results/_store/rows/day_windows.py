"""Windows of days in which the history is searched, the newest one first.

On PostgreSQL the history has tables for each day. A query plans all tables that its
conditions do not exclude, and locks them, with their indexes, until its transaction
ends. Most queries find what they need in the newest days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain, repeat
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, literal, text

from cadasta.workertoolbox.results._database.archived import are_on
from cadasta.workertoolbox.results._database.snapshot import release_locks
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.clocks import MAX_SKEW

#: Maximum number of tables in each window; the last number applies to all further ones.
#: A query locks sixteen objects for each, and the lock table of a server has room for
#: 6,400 by default. A day with more tables is a window of its own.
SIZES = (4, 16)

#: Number of days from today on that may have tasks: an end on a later day than tomorrow
#: comes from a wrong clock, and `day_of_end` keeps it under today.
DAYS_AHEAD = 2

_DAYS = text("SELECT day, tables FROM workertoolbox_days() ORDER BY day DESC")


class DayWindow(NamedTuple):
    """The days from one, inclusive, to another, exclusive; None is without a limit.

    Attributes:
        only: The only days in between; None for all.
    """

    since: date | None
    until: date | None
    only: Collection[date] | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield conditions on the history, with literals, so that tables are pruned."""
        day = history.c.day
        if self.only is not None:
            yield are_on(self.only)
            return
        if self.since is not None:
            yield day >= literal(self.since, day.type, literal_execute=True)
        if self.until is not None:
            yield day < literal(self.until, day.type, literal_execute=True)

    def is_before(self, at: datetime) -> bool:
        """Return whether all tasks in these days were published before an instant."""
        if self.until is None:
            return False
        return datetime.combine(self.until, time(), UTC) + MAX_SKEW <= at


def on_days_since(at: datetime) -> ColumnElement[bool]:
    """Return the condition that a task in the history ended on a day or later.

    Its values are literals, so that PostgreSQL prunes the tables of other days, those
    included that the archiver has created ahead.
    """
    return and_(*DayWindow(at.date(), _first_day_ahead()).conditions())


def day_windows(
    connection: Connection,
    *,
    since: date | None = None,
    only: Collection[date] | None = None,
) -> Iterator[DayWindow]:
    """Yield windows that cover all days; on SQLite, which has no tables of days, one.

    The connection is that of a store's snapshot. Before each window, the locks of the
    queries before it are released.

    Args:
        since: The first day that the windows cover; None for all.
        only: Days that the windows cover; None for all.
    """
    if only is not None and not only:
        return
    if connection.dialect.name == "sqlite":
        yield DayWindow(since, None)
        return
    first = since or date.min
    ahead = _first_day_ahead()
    tables = [
        (day, number)
        for day, number in connection.execute(_DAYS)
        if day >= first and (only is None or day in only)
    ]
    usual = [each for each in tables if each[0] < ahead]
    later = [each for each in tables if each[0] >= ahead]
    for window in (*_windows(usual, ahead), *_windows(later, None)):
        release_locks(connection)
        yield window if only is None else _listed(window, only)


def _first_day_ahead() -> date:
    """Return the first day that hardly ever has tasks."""
    return datetime.now(UTC).date() + timedelta(days=DAYS_AHEAD)


def _listed(window: DayWindow, days: Collection[date]) -> DayWindow:
    """Return a window of single days."""
    first, end = window.since or date.min, window.until or date.max
    return window._replace(only=[day for day in days if first <= day < end])


def _windows(
    tables: Sequence[tuple[date, int]], until: date | None
) -> Iterator[DayWindow]:
    """Yield windows of days that are sorted from the newest to the oldest one."""
    sizes = chain(SIZES, repeat(SIZES[-1]))
    size, since = next(sizes), None
    for day, number in tables:
        if since is not None and number > size:
            yield DayWindow(since, until)
            size, until = next(sizes), since
        size, since = size - number, day
    if since is not None:
        yield DayWindow(since, until)
