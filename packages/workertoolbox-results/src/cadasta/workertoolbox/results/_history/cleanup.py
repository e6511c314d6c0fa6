"""What is too old is deleted in bounded transactions, so that nobody waits for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Table, delete, select

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.tables import (
    chord,
    chord_part,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc

#: Rows in one transaction.
BATCH_SIZE = 1000


def delete_results(database: Database, before: datetime) -> int:
    """Delete some results that are older, and return how many."""
    return _delete_some(database, taskmeta, before)


def delete_groups(database: Database, before: datetime) -> int:
    """Delete some saved groups that are older, and return how many."""
    return _delete_some(database, tasksetmeta, before)


def delete_chords(database: Database, before: datetime) -> int:
    """Delete some chords with their parts that are older, and return how many."""
    with database.connect() as connection:
        old = select(chord.c.id).where(chord.c.touched_at < before).limit(BATCH_SIZE)
        ids = connection.scalars(old).all()
        connection.execute(delete(chord_part).where(chord_part.c.chord_id.in_(ids)))
        connection.execute(delete(chord).where(chord.c.id.in_(ids)))
    return len(ids)


def _delete_some(database: Database, table: Table, before: datetime) -> int:
    oldest = select(table.c.id).where(table.c.date_done < naive_utc(before))
    oldest = oldest.order_by(table.c.date_done).limit(BATCH_SIZE)
    # Rows that others hold are left to them, a purge or a worker. As a CTE, since
    # PostgreSQL may execute a subquery more than once, and lock more than these.
    some = oldest.with_for_update(skip_locked=True).cte("some")
    old = delete(table).where(table.c.id.in_(select(some.c.id)))
    with database.connect() as connection:
        # SQLite's driver does not count what a statement with a CTE deletes.
        return len(connection.execute(old.returning(table.c.id)).all())
