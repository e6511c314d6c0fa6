"""The latest rows for each of some values, such as names or queues, grouped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    bindparam,
    func,
    literal,
    select,
)

from cadasta.workertoolbox.results._database.types import FIRST


def group_latest(
    connection: Connection,
    values: Sequence[str],
    latest: Callable[[ColumnElement[str]], Select[Any]],
    *,
    since: datetime = FIRST,
) -> Iterator[tuple[Any, ...]]:
    """Group the latest rows for each value by all columns but the last, an instant.

    Args:
        latest: Returns the query for the latest rows of a value.
        since: Of the latest rows, those with an earlier instant are left out. A
            condition of the query would be checked for each row of a value.

    Yields:
        The value, the columns that rows have in common, the number of such rows, and
        their last instant.
    """
    if connection.dialect.name == "postgresql":
        # One statement, as planning takes longer than running it for a few values.
        given = func.unnest(bindparam("given", values, ARRAY(Text)))
        wanted: ColumnElement[str] = given.column_valued("wanted")
        grouped = _grouped(wanted, latest(wanted).lateral(), since)
        # PostgreSQL does not know the values, and expects few rows for each. It would
        # read all of them to sort them.
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
        yield from connection.execute(grouped).all()
        connection.exec_driver_sql("SET LOCAL enable_sort TO DEFAULT")
        return
    for value in values:
        wanted = literal(value)
        grouped = _grouped(wanted, latest(wanted).subquery(), since)
        yield from connection.execute(grouped)


def latest_with(
    query: Select[Any],
    column: ColumnElement[Any],
    value: ColumnElement[str] | str,
    at: ColumnElement[Any],
    limit: int,
) -> Select[Any]:
    """Return the query for the latest rows with a value, by the index on it and a time.

    PostgreSQL leaves a column that equals a value out of the order. It would read the
    latest rows with all values, by the index on the time alone, even if there are only
    a few old ones with this value. Only the index on both has this order.

    Args:
        column: Has the value.
        at: The time, which follows the column in the index.
    """
    has_value = column.between(value, value)
    return query.where(has_value).order_by(column.desc(), at.desc()).limit(limit)


def _grouped(
    value: ColumnElement[str], rows: FromClause, since: datetime
) -> Select[Any]:
    *labels, at = rows.c
    query = select(value, *labels, func.count(), func.max(at, type_=at.type))
    return query.where(at >= since).group_by(value, *labels)
