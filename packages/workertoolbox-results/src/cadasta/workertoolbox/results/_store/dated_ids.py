"""Ids of tasks with the instants that they are sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select

#: An instant before every task.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DatedId(NamedTuple):
    """The id of a task, and the instant that it is sorted by."""

    at: datetime
    id: str


def fetch_ids(
    connection: Connection, query: Select[Any], limit: int
) -> Sequence[DatedId]:
    """Return the first rows of a query that selects a date and an id."""
    return [
        DatedId(at if at.tzinfo else at.replace(tzinfo=UTC), id)
        for at, id in connection.execute(query.limit(limit))
    ]


def merge_ids(
    sources: Iterable[Sequence[DatedId]], limit: int, *, newest_first: bool = False
) -> list[str]:
    """Merge sorted sources, and return the first ids without duplicates."""
    merged = merge(*sources, key=lambda found: found.at, reverse=newest_first)
    return list(islice(dict.fromkeys(found.id for found in merged), limit))
