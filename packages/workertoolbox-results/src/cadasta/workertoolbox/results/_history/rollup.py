"""Rollups: figures about ended tasks by the minute, the hour and the day.

Each task is added to all three tiers in the transaction that archives it, so the
figures of each tier are complete at every moment.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import backlog, rollup
from cadasta.workertoolbox.results._history.tally import (
    NOTHING,
    Columns,
    Contribution,
    Tally,
)
from cadasta.workertoolbox.results._history.tiers import KEEP, TIERS, interval_start

#: Key of the advisory lock of a transaction that changes rollups in PostgreSQL. The
#: number is arbitrary, but must never change.
ADVISORY_LOCK_KEY = 0x776F7263

#: Maximum number of rows of a table and a tier that one call deletes, so that its
#: transaction is short.
BATCH_SIZE = 10_000

_encode = json.JSONEncoder(separators=(",", ":")).encode


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
            key: change.added_to(stored.get(key, NOTHING))
            for key, change in changes.items()
        }
    else:
        rows = {
            key: (Tally.from_columns(columns) - changes[key]).columns()
            for key, columns in stored.items()
        }
    _write(connection, rows)


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
    given = _encode([_key_values(key, dialect) for key in sorted(keys)])
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
        connection.execute(_upsert_given(dialect), {"rows": _encode(kept)})
    if empty:
        connection.execute(_delete_given(dialect), {"rows": _encode(empty)})


def _key_values(key: Key, dialect: str) -> tuple[Any, ...]:
    at = key.at.replace(tzinfo=None) if dialect == "sqlite" else key.at
    # The form in which SQLite stores instants.
    return (key.tier, at.isoformat(" ", "microseconds"), *key[2:])


@cache
def _select_given(dialect: str) -> Select[Any]:
    given = _given(dialect, _KEY)
    return select(rollup).where(tuple_(*_KEY).in_(given))


@cache
def _delete_given(dialect: str) -> Delete:
    return delete(rollup).where(tuple_(*_KEY).in_(_given(dialect, _KEY)))


@cache
def _upsert_given(dialect: str) -> Insert:
    columns = [*rollup.c]
    # SQLite needs the WHERE to distinguish ON CONFLICT from the ON of a join.
    given = _given(dialect, columns).where(true())
    insert = insert_into(rollup, dialect).from_select(columns, given)
    changes = {
        each.name: insert.excluded[each.name]
        for each in columns
        if not each.primary_key
    }
    return insert.on_conflict_do_update(index_elements=_KEY, set_=changes)


def _given(dialect: str, columns: list[Column[Any]]) -> Select[Any]:
    """Return a query for rows that are passed as one list of lists in JSON, `rows`.

    That is the fastest way to pass rows whose columns are used more than once.
    """
    rows = bindparam("rows", type_=Text)
    if dialect == "sqlite":
        given = func.json_each(rows).table_valued("value")
    else:
        given = func.jsonb_array_elements(cast(rows, JSONB)).table_valued("value")

    def element(position: int, column: Column[Any]) -> ColumnElement[Any]:
        if dialect == "sqlite":
            value = func.json_extract(given.c.value, f"$[{position}]")
            return type_coerce(value, column.type)
        return cast(given.c.value.op("->>")(position), column.type)

    return select(
        *(element(position, each) for position, each in enumerate(columns))
    ).select_from(given)
