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

from cadasta.workertoolbox.results._database.engine import reaching
from cadasta.workertoolbox.results._history.retention import Kind, old_kinds

#: Tasks that are looked at, and at most deleted, in one transaction: a monitor or a
#: worker that writes one of them waits for no more.
ROWS = 1000


def count(
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
    with reaching(engine), engine.connect() as connection:
        for kind in old_kinds(before, status=status, name=name):
            query = select(func.count()).select_from(kind.chosen.subquery())
            total[kind.name] += connection.scalars(query).one()
    return +total  # Without what there is none of.


def purge(
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
    with reaching(engine):
        for kind in old_kinds(before, status=status, name=name):
            for ids in _windows(engine, kind):
                yield Counter({kind.name: _delete_chosen(engine, kind, ids)})


def begin_writing(connection: Connection) -> None:
    """Keep others from writing in between where no single row can be locked."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def delete_from(
    connection: Connection, columns: Iterable[Column[Any]], ids: Sequence[Any]
) -> None:
    """Delete the rows of each column's table that have one of these values there."""
    for column in columns:
        connection.execute(delete(column.table).where(column.in_(ids)))


def _windows(engine: Engine, kind: Kind) -> Iterator[Sequence[Any]]:
    """Yield ids in the order of age, each once: who stays is not looked at again."""
    query = select(*kind.order).where(kind.aged).order_by(*kind.order).limit(ROWS)
    after = query
    while True:
        with engine.connect() as connection:
            rows = connection.execute(after).all()
        if not rows:
            return
        yield [row[-1] for row in rows]
        last = (literal(*each) for each in zip(rows[-1], _types(kind), strict=True))
        after = query.where(tuple_(*kind.order) > tuple_(*last))


def _types(kind: Kind) -> Iterator[Any]:
    return (column.type for column in kind.order)


def _delete_chosen(engine: Engine, kind: Kind, ids: Sequence[Any]) -> int:
    chosen = kind.chosen.where(kind.id.in_(ids))
    with engine.begin() as connection:
        begin_writing(connection)
        # As they are now. Skipped, not waited for: of who waits for nobody, nobody
        # waits in a circle.
        locked = chosen.with_for_update(skip_locked=True)
        found = connection.scalars(locked).all()
        if found:
            delete_from(connection, kind.columns, found)
    return len(found)
