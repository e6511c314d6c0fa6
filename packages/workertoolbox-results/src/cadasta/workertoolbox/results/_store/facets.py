"""The values that tasks have, for completion and for suggestions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, func, select

from cadasta.workertoolbox.results._database.tables import backlog, rollup
from cadasta.workertoolbox.results._history.backlog import ALL_QUEUES

#: Maximum number of different values of a column that are read.
MAX_VALUES = 500


def distinct_values(
    connection: Connection,
    column: Column[str],
    *conditions: ColumnElement[bool],
    limit: int = MAX_VALUES,
) -> Iterable[str]:
    """Return the distinct values of a column, by one lookup in its index for each.

    It is one statement. In PostgreSQL, planning a statement on the history takes as
    long as running it.
    """
    least = select(func.min(column).label("value")).where(*conditions)
    first = least.cte("found", recursive=True)
    following = select(func.min(column)).where(column > first.c.value, *conditions)
    found = first.union_all(
        select(following.scalar_subquery()).where(first.c.value.is_not(None))
    )
    query = select(found.c.value).where(found.c.value.is_not(None)).limit(limit)
    return connection.scalars(query)


def names_since(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the names of tasks that ended on the day of an instant or later.

    Only the figures by the day are read: a row a day and name.
    """
    return _values_since(connection, rollup.c.name, since)


def queues_since(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the queues in which tasks ended or waited since then, by the day."""
    ended = _values_since(connection, rollup.c.queue, since)
    query = select(backlog.c.queue).where(
        backlog.c.tier == "day", backlog.c.at >= _day(since), backlog.c.queue != ""
    )
    return sorted({*ended, *connection.scalars(query.distinct())} - {ALL_QUEUES})


def _values_since(
    connection: Connection, column: Column[str], since: datetime
) -> Sequence[str]:
    query = select(column).where(
        rollup.c.tier == "day", rollup.c.at >= _day(since), column != ""
    )
    return sorted(connection.scalars(query.distinct()))


def _day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
