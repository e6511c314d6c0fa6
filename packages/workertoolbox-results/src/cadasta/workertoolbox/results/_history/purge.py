"""What is old is counted, or deleted: a bounded number of rows in each transaction."""

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

#: Tasks that are looked at, and at most deleted, in one transaction: a monitor or a
#: worker that writes one of them waits for no more.
BATCH_SIZE = 1000


def count_expired(
    engine: Engine,
    *,
    before: datetime,
    status: str | None = None,
    name: str | None = None,
) -> Counter[str]:
    """Return how many of what `purge` would delete.

    Raises:
        DatabaseUnavailable: It cannot be reached or refuses.
    """
    total: Counter[str] = Counter()
    with translate_errors(engine), engine.connect() as connection:
        for rule in retention_rules(before, status=status, name=name):
            query = select(func.count()).select_from(rule.deletable.subquery())
            total[rule.name] += connection.scalars(query).one()
    return +total  # Without what there is none of.


def purge_expired(
    engine: Engine,
    *,
    before: datetime,
    status: str | None = None,
    name: str | None = None,
) -> Iterator[Counter[str]]:
    """Delete tasks that were scheduled, or if no monitor saw them stored, before.

    A task with an ETA counts from that. With neither status nor name, groups, chords
    and messages in quarantine go too. What somebody is writing at that moment stays.

    Yields:
        How many of what were deleted, after each transaction.

    Raises:
        DatabaseUnavailable: It cannot be reached or refuses.
    """
    with translate_errors(engine):
        for rule in retention_rules(before, status=status, name=name):
            for ids in _windows(engine, rule):
                yield Counter({rule.name: _delete_rows(engine, rule, ids)})


def begin_write_transaction(connection: Connection) -> None:
    """Keep others from writing in between where no single row can be locked."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def delete_rows(
    connection: Connection, columns: Iterable[Column[Any]], ids: Sequence[Any]
) -> None:
    """Delete the rows of each column's table that have one of these values there."""
    for column in columns:
        connection.execute(delete(column.table).where(column.in_(ids)))


def _windows(engine: Engine, rule: RetentionRule) -> Iterator[Sequence[Any]]:
    """Yield ids in the order of age, each once: who stays is not looked at again."""
    query = (
        select(*rule.order).where(rule.expired).order_by(*rule.order).limit(BATCH_SIZE)
    )
    after = query
    while True:
        with engine.connect() as connection:
            rows = connection.execute(after).all()
        if not rows:
            return
        yield [row[-1] for row in rows]
        last = (literal(*each) for each in zip(rows[-1], _types(rule), strict=True))
        after = query.where(tuple_(*rule.order) > tuple_(*last))


def _types(rule: RetentionRule) -> Iterator[Any]:
    return (column.type for column in rule.order)


def _delete_rows(engine: Engine, rule: RetentionRule, ids: Sequence[Any]) -> int:
    deletable = rule.deletable.where(rule.id.in_(ids))
    with engine.begin() as connection:
        begin_write_transaction(connection)
        # As they are now. Skipped, not waited for: of who waits for nobody, nobody
        # waits in a circle.
        locked = deletable.with_for_update(skip_locked=True)
        found = connection.scalars(locked).all()
        if found:
            delete_rows(connection, rule.columns, found)
    return len(found)
