"""The days of the history: on PostgreSQL, a table for each retention class and day."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.retention import DEFAULT as DEFAULT

_logger = logging.getLogger(__name__)

#: How far the clock of a publisher may be ahead. A later time is not believed.
CLOCK_SKEW = timedelta(minutes=5)

#: Days for which tables are created ahead, so that a pause of the archiver, or a lock
#: that lasts, does not matter.
DAYS_AHEAD = 7

#: Age in days of an end up to which its own day is created. An older end comes from a
#: clock that is wrong; it is kept in the day of today.
OLDEST_DAYS = 400

#: How long to wait for the lock that attaching a table needs.
LOCK_TIMEOUT_MS = 500

_CHILDREN = text(
    "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) AS bound"
    " FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
    " WHERE inhparent = to_regclass(:parent)"
)


class Day(NamedTuple):
    """A retention class on one day (UTC)."""

    keep: str
    day: date


def add_days(connection: Connection, today: date, keeps: Iterable[str]) -> None:
    """Create the tables of these retention classes for today and the days ahead."""
    known = set(existing_days(connection))
    for keep in keeps:
        for number in range(-1, DAYS_AHEAD + 1):
            wanted = Day(keep, today + timedelta(days=number))
            if wanted not in known:
                add_day(connection, wanted)


def add_day(connection: Connection, wanted: Day) -> bool:
    """Create the table of a class and a day; log an error and return False if it fails.

    A failure does not end the transaction.
    """
    try:
        with connection.begin_nested():
            connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            connection.execute(
                text("SELECT workertoolbox_add_day(:keep, :day)"), wanted._asdict()
            )
            connection.execute(text("SET LOCAL lock_timeout = DEFAULT"))
    except DBAPIError as error:
        _logger.warning("no table for history of %s: %s", wanted.day, one_line(error))
        return False
    return True


def existing_days(connection: Connection) -> Iterator[Day]:
    """Yield the classes and days that have a table on PostgreSQL."""
    for name, bound in _children(connection, history.name):
        [keep] = re.findall(r"IN \('(.*)'\)", bound, re.DOTALL)
        for _, days in _children(connection, name):
            [first] = re.findall(r"FROM \('([\d-]+)'\)", days)
            yield Day(keep.replace("''", "'"), date.fromisoformat(first))


def _children(connection: Connection, parent: str) -> Iterable[tuple[str, str]]:
    rows = connection.execute(_CHILDREN, {"parent": parent})
    return [(name, bound) for name, bound in rows]


def nearest(wanted: Day, known: Iterable[Day]) -> Day:
    """Return the day that has a table and is nearest to another.

    Raises:
        ValueError: The class has no table at all.
    """
    same = (each for each in known if each.keep == wanted.keep)
    return min(same, key=lambda each: abs(each.day - wanted.day))
