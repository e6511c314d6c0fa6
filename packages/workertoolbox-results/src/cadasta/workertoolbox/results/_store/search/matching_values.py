"""The names and queues that a pattern in a query matches.

There are few of them. A search for the values uses indexes that a pattern cannot use.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, ColumnElement, Connection, select

from cadasta.workertoolbox.results._store.rows.distinct_values import each_value
from cadasta.workertoolbox.results._store.search.query_conditions import (
    query_condition,
    restriction,
)
from cadasta.workertoolbox.results._store.search.request import Search

#: Maximum number of values of a field for which each is searched by its own index scan.
MAX_SCANS = 20

#: Fields with so few values that each one can be compared with a pattern.
_LISTED = ("name", "queue")


def find_matching_values(
    connection: Connection,
    search: Search,
    field: str,
    column: Column[str],
    *conditions: ColumnElement[bool],
) -> Sequence[str] | None:
    """Return the only values of a column that tasks can have that match a query.

    None means that tasks can have any value, or that a pattern matches more than
    `MAX_SCANS`. The number of values without wildcards is not limited.

    Args:
        field: The field of the query that the column has.
        column: Its index is searched once for each value.
        conditions: Which rows have the values; the index has to support them.
    """
    values = search.exact(field)
    pattern = restriction(search.query, field)
    if values is not None or pattern is None or field not in _LISTED:
        return values
    value = each_value(column, *conditions).c.value
    known = select(value.label(field)).subquery("known")
    is_matching = query_condition(pattern, known, connection.dialect.name)
    query = select(known.c[field]).where(is_matching).limit(MAX_SCANS + 1)
    found = connection.scalars(query).all()
    return None if len(found) > MAX_SCANS else found
