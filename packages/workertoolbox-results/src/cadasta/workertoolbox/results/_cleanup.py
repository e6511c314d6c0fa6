"""What is too old is deleted in bounded transactions, so that nobody waits for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Table, delete, select

from cadasta.workertoolbox.results._database import Database
from cadasta.workertoolbox.results._tables import (
    chord,
    chord_part,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._types import naive_utc

#: Rows in one transaction.
ROWS = 1000


def delete_results(database: Database, before: datetime) -> int:
    """Delete some results that are older, and return how many."""
    return _delete_some(database, taskmeta, taskmeta.c.date_done < naive_utc(before))


def delete_groups(database: Database, before: datetime) -> int:
    """Delete some saved groups that are older, and return how many."""
    old = tasksetmeta.c.date_done < naive_utc(before)
    return _delete_some(database, tasksetmeta, old)


def delete_chords(database: Database, before: datetime) -> int:
    """Delete some chords with their parts that are older, and return how many."""
    with database.connect() as connection:
        old = select(chord.c.id).where(chord.c.touched_at < before).limit(ROWS)
        ids = connection.scalars(old).all()
        connection.execute(delete(chord_part).where(chord_part.c.chord_id.in_(ids)))
        connection.execute(delete(chord).where(chord.c.id.in_(ids)))
    return len(ids)


def _delete_some(database: Database, table: Table, old: ColumnElement[bool]) -> int:
    some = select(table.c.id).where(old).limit(ROWS)
    with database.connect() as connection:
        return connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
