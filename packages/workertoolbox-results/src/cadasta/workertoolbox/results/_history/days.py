"""The days of the history: on PostgreSQL, a table for each retention class and day."""

from __future__ import annotations

import logging
import re
from calendar import monthrange
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.clocks import MAX_SKEW
from cadasta.workertoolbox.results._history.retention import DEFAULT
from cadasta.workertoolbox.results._json_record import JsonRecord

_logger = logging.getLogger(__name__)

#: Number of days for which tables are created ahead: more than a pause of the archiver
#: or a long lock should take.
DAYS_AHEAD = 7

#: Age in days up to which each day has a table of its own. Older ends come from
#: earlier releases: those of a month share the table of its last day, so that they are
#: never dropped too early. A query that searches all tables needs 0.2 ms and 14 locks
#: for each, and PostgreSQL's lock table is full when four queries search 950 of them.
DAYS_APART = 100

_CHILDREN = text(
    "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) AS bound"
    " FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
    " WHERE inhparent = to_regclass(:parent)"
)

_SIZES = text(
    "SELECT pg_get_expr(of_class.relpartbound, of_class.oid),"
    " pg_get_expr(of_day.relpartbound, of_day.oid),"
    " pg_total_relation_size(of_day.oid), of_day.reltuples"
    " FROM pg_inherits classes"
    " JOIN pg_class of_class ON of_class.oid = classes.inhrelid"
    " JOIN pg_inherits days ON days.inhparent = of_class.oid"
    " JOIN pg_class of_day ON of_day.oid = days.inhrelid"
    " WHERE classes.inhparent = to_regclass(:parent)"
)


class Day(NamedTuple):
    """A retention class on one day (UTC)."""

    keep: str
    day: date


@dataclass(frozen=True, slots=True)
class DaySize(JsonRecord):
    """The space that the history takes for the tasks of a class and a day.

    Attributes:
        keep: The retention class.
        day: The day on which the tasks ended, in UTC.
        bytes: The size of its table, with indexes.
        rows: Estimated number of tasks; None if nothing has estimated it.
    """

    keep: str
    day: date
    bytes: int
    rows: int | None


def day_of_end(ended_at: datetime, *, since: datetime | None, today: date) -> date:
    """Return the day under which the history keeps a task.

    An old end counts only if the task was published before. Other old ends, and ends in
    the future, come from wrong clocks and belong to today.

    Args:
        since: When the task was published, or None if that is not known.
        today: The date in UTC.
    """
    day = ended_at.date()
    if -DAYS_APART <= (day - today).days <= 1:
        return day
    if day > today or since is None or ended_at < since - MAX_SKEW:
        return today
    _, last = monthrange(day.year, day.month)
    return day.replace(day=last)


def add_days(connection: Connection, today: date, keeps: Iterable[str]) -> None:
    """Create the tables of these retention classes for today and the days ahead."""
    known = set(existing_days(connection))
    for keep in keeps:
        days = (Day(keep, today + timedelta(days=n)) for n in range(-1, DAYS_AHEAD + 1))
        # A lock that blocks one day of a class blocks the other days too.
        all(add_day(connection, wanted) for wanted in days if wanted not in known)


def add_day(connection: Connection, wanted: Day) -> bool:
    """Create the table of a class and a day; log an error and return False if it fails.

    A failure does not end the transaction.

    Raises:
        sqlalchemy.exc.DBAPIError: The connection is lost.
    """
    try:
        with connection.begin_nested():
            connection.execute(
                text("SELECT workertoolbox_add_day(:keep, :day)"), wanted._asdict()
            )
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        _logger.warning(
            "cannot create the table of %s in the history: %s",
            wanted.day,
            one_line(error),
        )
        return False
    return True


def existing_days(connection: Connection) -> Iterator[Day]:
    """Yield the classes and days that have a table in PostgreSQL."""
    for name, bound in _children(connection, history.name):
        for _, days in _children(connection, name):
            yield _day(bound, days)


def read_day_sizes(connection: Connection) -> Sequence[DaySize]:
    """Return the sizes of the tables of classes and days in PostgreSQL."""
    rows = connection.execute(_SIZES, {"parent": history.name})
    return [
        DaySize(*_day(keep, days), size, estimated_rows(estimate))
        for keep, days, size, estimate in rows
    ]


def estimated_rows(estimate: float) -> int | None:
    """Return PostgreSQL's estimate of rows; it is -1 for a table never analyzed."""
    return None if estimate < 0 else round(estimate)


def _day(keep: str, days: str) -> Day:
    """Return the class and the day of a table from the bounds of its partitions."""
    [name] = re.findall(r"IN \('(.*)'\)", keep, re.DOTALL)
    [first] = re.findall(r"FROM \('([\d-]+)'\)", days)
    return Day(name.replace("''", "'"), date.fromisoformat(first))


def _children(connection: Connection, parent: str) -> Iterable[tuple[str, str]]:
    rows = connection.execute(_CHILDREN, {"parent": parent})
    return [(name, bound) for name, bound in rows]


def find_nearest(wanted: Day, known: Iterable[Day]) -> Day | None:
    """Return the nearest day that has a table.

    A day of the same class is preferred to one of the class `default`, and a later day
    to an earlier one: tasks are looked up from the day of their publication on.
    """
    return min(
        (each for each in known if each.keep in (wanted.keep, DEFAULT)),
        key=lambda each: (
            each.keep != wanted.keep,
            each.day < wanted.day,
            abs(each.day - wanted.day),
        ),
        default=None,
    )
