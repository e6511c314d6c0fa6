"""Rollups: figures about ended tasks by the minute, the hour and the day.

Each task is added to all three tiers in the transaction that archives it, so the
figures of each tier are complete at every moment.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    Connection,
    Delete,
    Select,
    and_,
    delete,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.given_rows import (
    encode_instant,
    encode_rows,
    given_rows,
)
from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._database.tables import backlog, rollup
from cadasta.workertoolbox.results._history.tally import (
    NOTHING,
    UNREADABLE,
    Columns,
    Contribution,
    Tally,
)
from cadasta.workertoolbox.results._history.tiers import KEEP, TIERS, interval_start
from cadasta.workertoolbox.results._safe_text import log_text

#: Key of the advisory lock of a transaction that changes rollups in PostgreSQL. The
#: number is arbitrary, but must never change.
ADVISORY_LOCK_KEY = 0x776F7263

#: Maximum number of rows of a table and a tier that one call deletes, so that its
#: transaction is short.
BATCH_SIZE = 10_000

_logger = logging.getLogger(__name__)

#: Largest count that is read. Others were not written by the toolbox, and their sums
#: might be too large for the database.
_MAX_COUNT = 2**62


class Key(NamedTuple):
    """The primary key of a row of `workertoolbox_rollup`."""

    tier: str
    at: datetime
    name: str
    queue: str
    status: str
    error_group: str


_KEY = [*rollup.primary_key.columns]


def add_contributions(
    connection: Connection,
    contributions: Iterable[Contribution],
    sign: Literal[1, -1] = 1,
    *,
    keep: Mapping[str, timedelta] = KEEP,
) -> None:
    """Add contributions of tasks to the rollups, or subtract them again.

    Subtracting restores the former values. Rows that count nothing are deleted.
    Intervals that are past their retention are left out.

    Args:
        connection: In a transaction. On PostgreSQL, other transactions that change
            rollups wait for its end.
        sign: 1 to add, -1 to subtract.
        keep: How long the intervals of each tier are kept.
    """
    now = datetime.now(UTC)
    oldest = {tier: now - kept for tier, kept in keep.items()}
    changes = {
        key: tally
        for key, tally in _by_key(contributions).items()
        if key.at >= oldest[key.tier]
    }
    if not changes:
        return
    stored = _read(connection, changes)
    if sign == 1:
        rows = {
            key: _added(key, change, stored.get(key, NOTHING))
            for key, change in changes.items()
        }
    else:
        rows = {
            key: _subtracted(key, changes[key], columns)
            for key, columns in stored.items()
        }
    _write(connection, rows)


def _added(key: Key, change: Tally, columns: Columns) -> Columns:
    """Return the columns of a row to which a change is added."""
    try:
        _check_counts(columns)
        return change.added_to(columns)
    except UNREADABLE as error:
        _log_unreadable(key, error)
        return change.columns()


def _subtracted(key: Key, change: Tally, columns: Columns) -> Columns:
    """Return the columns of a row from which a change is subtracted."""
    try:
        _check_counts(columns)
        return (Tally.from_columns(columns) - change).columns()
    except UNREADABLE as error:
        _log_unreadable(key, error)
        return NOTHING


def _check_counts(columns: Columns) -> None:
    if max(columns[:3]) > _MAX_COUNT:
        raise ValueError(f"{max(columns[:3])} is too large")


def _log_unreadable(key: Key, error: Exception) -> None:
    """Log that a row counts from zero again, so that tasks can be archived."""
    names = ", ".join(filter(None, key[2:]))
    _logger.error(
        "figures of %s %s (%s) cannot be read and begin at zero again: %s",
        *(key.tier, key.at.isoformat(timespec="minutes"), log_text(names)),
        one_line(error),
    )


def delete_old_intervals(
    connection: Connection,
    now: datetime,
    *,
    keep: Mapping[str, timedelta] = KEEP,
    limit: int = BATCH_SIZE,
) -> int:
    """Delete intervals that are past their retention, the oldest first.

    Args:
        keep: How long the intervals of each tier are kept.
        limit: Number of rows of each table and tier after which it stops. An interval
            is deleted as a whole.

    Returns:
        The number of deleted rows. Call it again until it is 0.
    """
    deleted = 0
    for table in (rollup, backlog):
        for tier, kept in keep.items():
            old = and_(table.c.tier == tier, table.c.at < now - kept)
            last = select(table.c.at).where(old).order_by(table.c.at)
            ends = last.offset(limit - 1).limit(1).scalar_subquery()
            until = func.coalesce(ends, now - kept, type_=table.c.at.type)
            result = connection.execute(delete(table).where(old, table.c.at <= until))
            deleted += result.rowcount
    return deleted


def _by_key(contributions: Iterable[Contribution]) -> dict[Key, Tally]:
    """Return the sums of contributions for the rows of all tiers."""
    groups = defaultdict(list)
    for each in contributions:
        minute = each.finished_at.replace(second=0, microsecond=0)
        group = (minute, each.name, each.queue, each.status, each.error_group)
        groups[group].append(each)
    parts = defaultdict(list)
    for (minute, *labels), group_members in groups.items():
        tally = Tally.of(group_members)
        for tier, length in TIERS.items():
            parts[Key(tier, interval_start(minute, length), *labels)].append(tally)
    return {key: Tally.merge(tallies) for key, tallies in parts.items()}


def _read(connection: Connection, keys: Iterable[Key]) -> dict[Key, Columns]:
    """Return the rows with these keys, after waiting for other transactions."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        # A lock on rows would not cover those that are yet to be inserted.
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK_KEY)))
    given = encode_rows([_key_values(key, dialect) for key in sorted(keys)])
    rows = connection.execute(_select_given(dialect), {"rows": given})
    return {Key(*row[: len(_KEY)]): Columns(*row[len(_KEY) :]) for row in rows}


def _write(connection: Connection, rows: Mapping[Key, Columns]) -> None:
    dialect = connection.dialect.name
    kept, empty = [], []
    for key in sorted(rows):
        values = _key_values(key, dialect)
        columns = rows[key]
        if columns.tasks or columns.retries:
            kept.append((*values, *columns))
        else:
            empty.append(values)
    if kept:
        connection.execute(_upsert_given(dialect), {"rows": encode_rows(kept)})
    if empty:
        connection.execute(_delete_given(dialect), {"rows": encode_rows(empty)})


def _key_values(key: Key, dialect: str) -> tuple[Any, ...]:
    return (key.tier, encode_instant(key.at, dialect), *key[2:])


@cache
def _select_given(dialect: str) -> Select[Any]:
    given = given_rows(dialect, _KEY)
    return select(rollup).where(tuple_(*_KEY).in_(given))


@cache
def _delete_given(dialect: str) -> Delete:
    return delete(rollup).where(tuple_(*_KEY).in_(given_rows(dialect, _KEY)))


@cache
def _upsert_given(dialect: str) -> Insert:
    columns = [*rollup.c]
    # SQLite needs the WHERE to distinguish ON CONFLICT from the ON of a join.
    given = given_rows(dialect, columns).where(true())
    insert = insert_into(rollup, dialect).from_select(columns, given)
    changes = {
        each.name: insert.excluded[each.name]
        for each in columns
        if not each.primary_key
    }
    return insert.on_conflict_do_update(index_elements=_KEY, set_=changes)
