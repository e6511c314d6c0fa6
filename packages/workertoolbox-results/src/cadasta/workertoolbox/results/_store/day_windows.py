"""Windows of days in which the history is searched, the newest one first.

On PostgreSQL the history has a table for each day, and a query plans all tables that
its conditions do not exclude. Most queries find what they need in the newest days.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, literal, or_

from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.clocks import MAX_SKEW

#: Age in days at which each window but the last one begins.
SIZES = (2, 8, 32)

#: Days ahead that are searched first. Ends that are later come from wrong clocks.
DAYS_AHEAD = 2


class DayWindow(NamedTuple):
    """The days from one, inclusive, to another, exclusive; None is without a limit.

    `after` is a further day; it and later days belong to the window too.
    """

    since: date | None
    until: date | None
    after: date | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield conditions on the history, with literals, so that tables are pruned."""
        day = history.c.day
        if self.since is not None:
            yield day >= literal(self.since, day.type, literal_execute=True)
        if self.until is not None:
            is_before = day < literal(self.until, day.type, literal_execute=True)
            if self.after is None:
                yield is_before
            else:
                later = day >= literal(self.after, day.type, literal_execute=True)
                yield or_(is_before, later)

    def is_before(self, at: datetime) -> bool:
        """Return whether all tasks in these days were published before an instant."""
        if self.until is None:
            return False
        return datetime.combine(self.until, time(), UTC) + MAX_SKEW <= at


def day_windows(connection: Connection) -> Iterator[DayWindow]:
    """Yield windows that cover all days; on SQLite, which has no tables of days, one.

    Several windows make sense only in a transaction that sees one snapshot.
    """
    if connection.dialect.name == "sqlite":
        yield DayWindow(None, None)
        return
    today = datetime.now(UTC).date()
    until = ahead = today + timedelta(days=DAYS_AHEAD)
    for size in SIZES:
        since = today - timedelta(days=size - 1)
        yield DayWindow(since, until)
        until = since
    yield DayWindow(None, until, ahead)
