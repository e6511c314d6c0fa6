"""The days on which the history has tasks with some values.

Most values occur on few days, or on the newest ones. PostgreSQL takes longer to plan a
query on the tables of many days than to run it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date

from sqlalchemy import ColumnElement, Connection, Subquery, intersect, select

from cadasta.workertoolbox.results._database.tables import day_value
from cadasta.workertoolbox.results._store.facets import each_value

#: Columns of the history whose values are known by day.
KINDS = ("name", "queue", "status", "worker", "error_group")


def find_days(
    connection: Connection, values: Mapping[str, Collection[str]]
) -> frozenset[date] | None:
    """Return the days that may have tasks with these values; None means all days.

    Args:
        values: For each kind, the values that a task may have. `tracked` has only the
            value `false`.
    """
    kind, value = day_value.c.kind, day_value.c.value
    queries = [
        select(day_value.c.day).where(kind == key, value.in_(sorted(some)))
        for key, some in values.items()
    ]
    if not queries:
        return None
    query = queries[0].distinct() if len(queries) == 1 else intersect(*queries)
    return frozenset(connection.execute(query).scalars())


def find_values(
    connection: Connection,
    kind: str,
    condition: Callable[[Subquery], ColumnElement[bool]],
    *,
    limit: int,
) -> Sequence[str] | None:
    """Return the values of tasks in the history that meet a condition.

    None means that there are more than `limit`. There is an index lookup for each value
    of the kind.

    Args:
        condition: Returns the condition on a table whose only column has the name of
            the kind.
    """
    value = each_value(day_value.c.value, day_value.c.kind == kind).c.value
    known = select(value.label(kind)).where(value.is_not(None)).subquery("known")
    query = select(known.c[kind]).where(condition(known)).limit(limit + 1)
    found = connection.scalars(query).all()
    return None if len(found) > limit else found
