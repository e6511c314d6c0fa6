"""The distinct values of a column, by one lookup in its index for each.

That is much faster than reading all rows of a column with few different values.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Subquery,
    TextClause,
    func,
    select,
)

#: Maximum number of different values of a column that are read.
MAX_VALUES = 500


def distinct_values(
    connection: Connection, column: Column[str], *conditions: ColumnElement[bool]
) -> Iterable[str]:
    """Return up to `MAX_VALUES` distinct values of a column, except NULL."""
    value = each_value(column, *conditions).c.value
    return connection.scalars(select(value).limit(MAX_VALUES))


def each_value(
    column: Column[str], *conditions: ColumnElement[bool] | TextClause
) -> Subquery:
    """Return a table with the distinct values of a column, `value`, except NULL.

    It is part of one statement. In PostgreSQL, planning a statement on the history
    takes as long as running it.
    """
    least = select(func.min(column).label("value")).where(*conditions)
    first = least.cte("found", recursive=True)
    following = select(func.min(column)).where(column > first.c.value, *conditions)
    value = first.union_all(
        select(following.scalar_subquery()).where(first.c.value.is_not(None))
    ).c.value
    return select(value).where(value.is_not(None)).subquery("each")
