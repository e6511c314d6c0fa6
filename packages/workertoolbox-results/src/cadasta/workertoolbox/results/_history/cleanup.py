"""Cleanup of expired results, groups and chords (`result_expires`) in small batches."""

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

#: Maximum number of rows that one transaction deletes, so that other writers wait only
#: briefly.
BATCH_SIZE = 1000


def delete_results(database: Database, before: datetime) -> int:
    """Delete a batch of results stored before an instant, and return its size."""
    return _delete_oldest(database, taskmeta, before)


def delete_groups(database: Database, before: datetime) -> int:
    """Delete a batch of groups saved before an instant, and return its size."""
    return _delete_oldest(database, tasksetmeta, before)


def delete_chords(database: Database, before: datetime) -> int:
    """Delete a batch of chords last changed before an instant, and return its size."""
    with database.connect() as connection:
        old = select(chord.c.id).where(chord.c.touched_at < before).limit(BATCH_SIZE)
        ids = connection.scalars(old).all()
        connection.execute(delete(chord_part).where(chord_part.c.chord_id.in_(ids)))
        connection.execute(delete(chord).where(chord.c.id.in_(ids)))
    return len(ids)


def _delete_oldest(database: Database, table: Table, before: datetime) -> int:
    oldest = select(table.c.id).where(table.c.date_done < naive_utc(before))
    oldest = oldest.order_by(table.c.date_done).limit(BATCH_SIZE)
    # Rows that a purge or a worker has locked are skipped. The query is a CTE, because
    # PostgreSQL may execute a subquery more than once, which would lock more rows.
    batch = oldest.with_for_update(skip_locked=True).cte("batch")
    statement = delete(table).where(table.c.id.in_(select(batch.c.id)))
    with database.connect() as connection:
        # The SQLite driver has no row count for a statement with a CTE.
        return len(connection.execute(statement.returning(table.c.id)).all())
