"""The days on which the history has tasks with some values.

Most values occur on few days, or on the newest ones. PostgreSQL takes longer to plan a
query on the tables of many days than to run it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

from celery.states import SUCCESS
from sqlalchemy import Connection, intersect, select

from cadasta.workertoolbox.results._database.tables import day_value

#: Columns of the history whose values are known by day.
KINDS = ("name", "queue", "status", "worker", "error_group")

_PAIRED = ("status", "name")


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
        for key, some in _with_status_names(values).items()
    ]
    if not queries:
        return None
    query = queries[0].distinct() if len(queries) == 1 else intersect(*queries)
    return frozenset(connection.execute(query).scalars())


def _with_status_names(
    values: Mapping[str, Collection[str]],
) -> Mapping[str, Collection[str]]:
    """Replace statuses and names by their pairs, which fewer days have."""
    statuses, names = values.get("status", ()), values.get("name", ())
    pairs = [f"{status} {name}" for status in statuses for name in names]
    if not pairs or SUCCESS in statuses:
        return values
    others = {kind: some for kind, some in values.items() if kind not in _PAIRED}
    return {**others, "status_name": pairs}
