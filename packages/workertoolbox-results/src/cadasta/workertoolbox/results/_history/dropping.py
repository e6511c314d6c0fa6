"""Dropping whole days of the history, which PostgreSQL keeps in tables of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import (
    is_blocked,
    is_needed,
    one_line,
)
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.days import Day
from cadasta.workertoolbox.results._history.retention import Retention

_logger = logging.getLogger(__name__)

#: The number of rows at the last ANALYZE. It is NULL for a table that has not been
#: analyzed, or that was empty at the time and has rows now.
_ESTIMATE = text(
    "SELECT CASE WHEN reltuples > 0 THEN reltuples::bigint"
    " WHEN pg_relation_size(oid) = 0 THEN 0 END"
    " FROM pg_class WHERE oid = to_regclass(workertoolbox_day_table(:keep, :day))"
)

_DROP = text("SELECT workertoolbox_drop_day(:keep, :day)")


def expired_days(
    existing: Iterable[Day], retention: Retention, today: date
) -> list[Day]:
    """Return the days that are entirely too old on a date (UTC), oldest first."""
    expired = []
    for each in existing:
        last = retention.last_day(each.keep, today)
        if last is not None and each.day <= last:
            expired.append(each)
    return sorted(expired, key=lambda each: (each.day, each.keep))


def estimate_days(connection: Connection, days: Iterable[Day]) -> Mapping[Day, int]:
    """Return about how many tasks each day has, without a scan of large tables."""
    estimates = {}
    for each in days:
        estimates[each] = _estimate(connection, each)
        connection.rollback()  # Releases the locks of the day.
    return estimates


def drop_days(engine: Engine, days: Iterable[Day]) -> Iterator[Day]:
    """Drop days, and yield each that is dropped.

    The function returns early if another transaction reads or writes the history for
    long. Readers wait for half a second at most. A day that other objects depend
    on, such as a view, is logged and left out.
    """
    for each in days:
        try:
            with engine.begin() as connection:
                connection.execute(_DROP, each._asdict())
        except DBAPIError as error:
            if is_blocked(error):
                return
            if not is_needed(error):
                raise
            _logger.error(
                "%s of the class %r in the history cannot be dropped: %s",
                *(each.day, each.keep, one_line(error)),
            )
            continue
        yield each


def _estimate(connection: Connection, each: Day) -> int:
    estimate = connection.scalar(_ESTIMATE, each._asdict())
    if estimate is None:
        # Autovacuum analyzes a table when it has a few rows, so this one is small.
        query = select(func.count()).select_from(history)
        of_day = query.where(history.c.keep == each.keep, history.c.day == each.day)
        estimate = connection.scalar(of_day)
    return int(estimate or 0)
