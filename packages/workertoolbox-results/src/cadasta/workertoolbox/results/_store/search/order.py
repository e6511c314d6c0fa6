"""The order of searches, and positions in it from which a search continues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, collate, or_

from cadasta.workertoolbox.results._database.types import FIRST, NaiveInstant, naive_utc
from cadasta.workertoolbox.results._store.rows.dated_ids import (
    EPOCH,
    DatedId,
    fetch_ids,
)


def newest_first(
    connection: Connection,
    query: Select[Any],
    at: ColumnElement[Any],
    id: ColumnElement[str],
    *,
    after: DatedId | None,
    limit: int,
    fetch: Callable[[Connection, Select[Any], int], Sequence[DatedId]] = fetch_ids,
) -> Sequence[DatedId]:
    """Return the first rows after a position: by time, and then by id.

    Args:
        query: Selects what `fetch` needs.
        after: The last row before; None at the beginning.
        fetch: Returns the first rows of a query.
    """
    # The order of the bytes, as Python compares texts.
    is_sqlite = connection.dialect.name == "sqlite"
    key = id if is_sqlite else collate(id, "C")
    if after is not None:
        last = _bound(at, after.at)
        # Times that Python cannot represent are read as the first one.
        is_same = at <= last if after.at <= FIRST else at == last
        is_after = or_(at < last, and_(is_same, key < after.id))
        if after.at <= FIRST:
            is_after = and_(is_same, key < after.id)
        query = query.where(at <= last, is_after)
    return fetch(connection, query.order_by(at.desc(), key.desc()), limit)


def within(
    at: ColumnElement[Any], since: datetime | None, until: datetime | None
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that a time is in a window; the end is not included."""
    if since is not None:
        yield at >= _bound(at, since)
    if until is not None:
        yield at < _bound(at, until)


def undated(
    connection: Connection,
    query: Select[Any],
    id: ColumnElement[str],
    *,
    after: DatedId | None,
    limit: int,
) -> Sequence[DatedId]:
    """Return rows without a time, which are last; `query` selects their ids."""
    key = id if connection.dialect.name == "sqlite" else collate(id, "C")
    if after is not None and after.at <= EPOCH:
        query = query.where(key < after.id)
    ids = connection.scalars(query.order_by(key.desc()).limit(limit))
    return [DatedId(EPOCH, id) for id in ids]


def merged(sources: Iterable[Sequence[DatedId]], limit: int) -> Sequence[DatedId]:
    """Merge sources, each newest first, without duplicate ids."""
    found: dict[str, DatedId] = {}
    rows = (row for source in sources for row in source)
    for row in sorted(rows, key=lambda row: (row.at, row.id), reverse=True):
        found.setdefault(row.id, row)
    return [*found.values()][:limit]


def _bound(at: ColumnElement[Any], instant: datetime) -> datetime:
    return naive_utc(instant) if isinstance(at.type, NaiveInstant) else instant
