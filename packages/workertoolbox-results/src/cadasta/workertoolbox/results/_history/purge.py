"""Counting and deleting expired rows, in batches with a transaction each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    delete,
    func,
    literal,
    select,
    tuple_,
)

from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._history.retention import (
    RetentionRule,
    retention_rules,
)

#: Maximum number of tasks that one transaction reads and deletes. A monitor or a worker
#: that writes one of them waits for that transaction.
BATCH_SIZE = 1000


def count_expired(
    engine: Engine,
    *,
    before: datetime,
    status: str | None = None,
    name: str | None = None,
) -> Counter[str]:
    """Return how many rows `purge_expired` would delete, by kind.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    total: Counter[str] = Counter()
    with translate_errors(engine), engine.connect() as connection:
        for rule in retention_rules(before, status=status, name=name):
            query = select(func.count()).select_from(rule.deletable.subquery())
            total[rule.kind] += connection.scalars(query).one()
    return +total  # Drops zero counts.


def purge_expired(
    engine: Engine,
    *,
    before: datetime,
    status: str | None = None,
    name: str | None = None,
) -> Iterator[Counter[str]]:
    """Delete tasks that were scheduled before an instant, with all data about them.

    The ETA of a task, if it has one, must be before the instant too. A task that no
    monitor has seen is as old as its result. Groups, chords and quarantined messages
    are deleted only if neither status nor name is given. Rows that another transaction
    has locked are skipped.

    Yields:
        The number of deleted rows, by kind, after each transaction.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    with translate_errors(engine):
        for rule in retention_rules(before, status=status, name=name):
            for ids in _expired_batches(engine, rule):
                yield Counter({rule.kind: _delete_batch(engine, rule, ids)})


def begin_write_transaction(connection: Connection) -> None:
    """Lock a SQLite database against other writers, as it cannot lock single rows."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def delete_rows(
    connection: Connection, columns: Iterable[Column[Any]], values: Sequence[Any]
) -> None:
    """Delete, from the table of each column, the rows that have one of the values."""
    for column in columns:
        connection.execute(delete(column.table).where(column.in_(values)))


def _expired_batches(engine: Engine, rule: RetentionRule) -> Iterator[Sequence[Any]]:
    """Yield batches of ids, in the order of the rule.

    Each id is yielded once, so that a row that is not deleted is not read again.
    """
    query = (
        select(*rule.order).where(rule.expired).order_by(*rule.order).limit(BATCH_SIZE)
    )
    types = [column.type for column in rule.order]
    next_batch = query
    while True:
        with engine.connect() as connection:
            rows = connection.execute(next_batch).all()
        if not rows:
            return
        yield [row[-1] for row in rows]
        last = (literal(*each) for each in zip(rows[-1], types, strict=True))
        next_batch = query.where(tuple_(*rule.order) > tuple_(*last))


def _delete_batch(engine: Engine, rule: RetentionRule, ids: Sequence[Any]) -> int:
    deletable = rule.deletable.where(rule.id.in_(ids))
    with engine.begin() as connection:
        begin_write_transaction(connection)
        # Checks the current rows again. SKIP LOCKED cannot deadlock.
        unlocked = deletable.with_for_update(skip_locked=True)
        found = connection.scalars(unlocked).all()
        if found:
            delete_rows(connection, rule.columns, found)
    return len(found)
