"""Ids of tasks with the instants that they are sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select

#: An instant before every task.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DatedId(NamedTuple):
    """The id of a task, and the instant that it is sorted by.

    Attributes:
        day: Its day in the history; None if it is live.
        row: The task as `reading.py` reads it, if it was read when it was found.
    """

    at: datetime
    id: str
    day: date | None = None
    row: Row[Any] | None = None


def fetch_ids(
    connection: Connection, query: Select[Any], limit: int
) -> Sequence[DatedId]:
    """Return the first rows of a query that selects a date, an id, and maybe a day.

    Rows without a date have the date `EPOCH`.
    """
    return [
        DatedId(_aware(at) if at else EPOCH, *others)
        for at, *others in connection.execute(query.limit(limit))
    ]


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def merge_ids(
    sources: Iterable[Sequence[DatedId]], limit: int, *, newest_first: bool = False
) -> list[DatedId]:
    """Merge sorted sources, and return the first ones without duplicate ids."""
    merged = merge(*sources, key=lambda found: found.at, reverse=newest_first)
    first: dict[str, DatedId] = {}
    for found in merged:
        first.setdefault(found.id, found)
        if len(first) == limit:
            break
    return list(islice(first.values(), limit))


def days_by_id(found: Iterable[DatedId]) -> Mapping[str, date]:
    """Return the days of the tasks that are in the history, by id."""
    return {each.id: each.day for each in found if each.day is not None}
