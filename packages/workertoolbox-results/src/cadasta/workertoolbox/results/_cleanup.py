"""What is too old is deleted in bounded transactions, so that nobody waits for long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Engine, Table, delete, select

from cadasta.workertoolbox.results._tables import (
    chord,
    chord_part,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._types import naive_utc

#: Rows in one transaction.
ROWS = 1000


def delete_results(engine: Engine, before: datetime) -> int:
    """Delete some results that are older, and return how many."""
    return _delete_some(engine, taskmeta, taskmeta.c.date_done < naive_utc(before))


def delete_groups(engine: Engine, before: datetime) -> int:
    """Delete some saved groups that are older, and return how many."""
    old = tasksetmeta.c.date_done < naive_utc(before)
    return _delete_some(engine, tasksetmeta, old)


def delete_chords(engine: Engine, before: datetime) -> int:
    """Delete some chords with their parts that are older, and return how many."""
    with engine.connect() as connection:
        old = select(chord.c.id).where(chord.c.touched_at < before).limit(ROWS)
        ids = connection.scalars(old).all()
        connection.execute(delete(chord_part).where(chord_part.c.chord_id.in_(ids)))
        connection.execute(delete(chord).where(chord.c.id.in_(ids)))
    return len(ids)


def _delete_some(engine: Engine, table: Table, old: ColumnElement[bool]) -> int:
    some = select(table.c.id).where(old).limit(ROWS)
    with engine.connect() as connection:
        return connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
