"""The values that tasks have, for completion and for suggestions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Connection,
    TextClause,
    func,
    select,
)

from cadasta.workertoolbox.results._database.tables import backlog, rollup, task
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start

#: Maximum number of different values of a column that are read.
MAX_VALUES = 500


def distinct_values(
    connection: Connection, column: Column[str], *conditions: ColumnElement[bool]
) -> Iterable[str]:
    """Return the distinct values of a column, by one lookup in its index for each."""
    value = each_value(column, *conditions).c.value
    return connection.scalars(select(value).where(value.is_not(None)).limit(MAX_VALUES))


def each_value(
    column: Column[str], *conditions: ColumnElement[bool] | TextClause
) -> CTE:
    """Return a table with the distinct values of a column, `value`, and a last NULL.

    It is part of one statement. In PostgreSQL, planning a statement on the history
    takes as long as running it.
    """
    least = select(func.min(column).label("value")).where(*conditions)
    first = least.cte("found", recursive=True)
    following = select(func.min(column)).where(column > first.c.value, *conditions)
    return first.union_all(
        select(following.scalar_subquery()).where(first.c.value.is_not(None))
    )


def known_names(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the names of live tasks, and of those that ended since a day, sorted.

    Of ended tasks, only the figures by the day are read: a row a day and name.
    """
    live = distinct_values(connection, task.c.name)
    return sorted({*live, *_values_since(connection, rollup.c.name, since)})


def known_queues(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the queues of live tasks, and those with tasks since a day, sorted."""
    live = distinct_values(connection, task.c.queue)
    ended = _values_since(connection, rollup.c.queue, since)
    waiting = _values_since(connection, backlog.c.queue, since)
    return sorted({*live, *ended, *waiting})


def _values_since(
    connection: Connection, column: Column[str], since: datetime
) -> Sequence[str]:
    """Return the values in the figures by the day, except the empty one."""
    first = interval_start(since, TIERS["day"])
    tier, at = column.table.c.tier, column.table.c.at
    query = select(column).where(tier == "day", at >= first, column != "")
    return connection.scalars(query.distinct()).all()
