"""SQL statements about chords, compiled once for each dialect."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Dialect,
    bindparam,
    case,
    delete,
    func,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.sql.dml import ReturningInsert

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.statement import (
    Statement,
    compile_statement,
)
from cadasta.workertoolbox.results._database.tables import chord, chord_part
from cadasta.workertoolbox.results._database.types import Instant

#: What `ChordProgress` is made of.
PROGRESS_COLUMNS = (
    chord.c.size,
    chord.c.added,
    chord.c.done,
    chord.c.starters,
    chord.c.started_at,
    chord.c.starter_id,
    (func.coalesce(func.length(chord.c.header), 1) > 0).label("is_known"),
)

#: The header of a chord that `create` has not stored. A header that is nested is longer
#: when it is encoded, and a flat one is not stored.
_UNKNOWN = b""

_ID: BindParameter[str] = bindparam("chord_id", type_=chord.c.id.type)
_TOUCHED_AT: BindParameter[datetime] = bindparam("touched_at", type_=Instant())


@cache
def create(dialect: Dialect) -> list[Statement]:
    """Insert a chord, or update it: its counts stay unless its body has started."""
    zero = dict.fromkeys(("added", "done", "starters"), 0)
    counts = {"size": null(), "starter_id": null(), **zero}
    header = bindparam("header", type_=chord.c.header.type)
    given = {"header": header, "touched_at": _TOUCHED_AT, "started_at": null()}
    insert = insert_into(chord, dialect.name).values(id=_ID, **counts, **given)
    has_started = chord.c.started_at.is_not(None)
    kept_or_reset = {
        name: case((has_started, initial), else_=chord.c[name])
        for name, initial in counts.items()
    }
    upsert = insert.on_conflict_do_update(
        index_elements=[chord.c.id], set_={**kept_or_reset, **given}
    )
    # The parts of a chord that has failed would prevent the new ones.
    started = select(chord.c.id).where(chord.c.id == _ID, has_started)
    old_parts = delete(chord_part).where(chord_part.c.chord_id == _ID, started.exists())
    return [compile_statement(dialect, each) for each in (old_parts, upsert)]


@cache
def set_size(dialect: Dialect) -> list[Statement]:
    """Store the number of tasks in the header."""
    size = bindparam("new_size", type_=chord.c.size.type)
    statement = update(chord).where(chord.c.id == _ID)
    return [
        compile_statement(dialect, statement.values(size=size, touched_at=_TOUCHED_AT))
    ]


@cache
def record_part(dialect: Dialect) -> list[Statement]:
    """Insert a part, and return the progress and whether the part is new."""
    part = _insert_part(dialect.name)
    if dialect.name == "sqlite":
        # `changes()` is the number of rows that the previous statement has inserted.
        count = _count_parts("sqlite", new=func.changes(type_=chord.c.done.type))
        return [compile_statement(dialect, statement) for statement in (part, count)]
    inserted = part.returning(chord_part.c.task_id).cte("part")
    new = select(func.count()).select_from(inserted).scalar_subquery()
    return [compile_statement(dialect, _count_parts(dialect.name, new=new))]


@cache
def fetch_parts(dialect: Dialect) -> list[Statement]:
    """Return the header; the second statement returns the parts in its order."""
    header = select(chord.c.header).where(chord.c.id == _ID)
    parts = (
        select(*chord_part.c)
        .where(chord_part.c.chord_id == _ID)
        .order_by(chord_part.c.position, chord_part.c.task_id)
    )
    return [compile_statement(dialect, query) for query in (header, parts)]


@cache
def mark_started(dialect: Dialect) -> list[Statement]:
    """Store that the body has started; the second statement deletes the parts."""
    now = bindparam("now", type_=Instant())
    started = (
        update(chord).where(chord.c.id == _ID).values(started_at=now, touched_at=now)
    )
    parts = delete(chord_part).where(chord_part.c.chord_id == _ID)
    return [compile_statement(dialect, statement) for statement in (started, parts)]


def _insert_part(dialect: str) -> Insert:
    """Insert a part, unless it is known or the body of its chord has started."""
    started = select(chord.c.id).where(
        chord.c.id == _ID,
        chord.c.started_at.is_not(None),
    )
    values = [bindparam(column.name, type_=column.type) for column in chord_part.c]
    return (
        insert_into(chord_part, dialect)
        .from_select(chord_part.c.keys(), select(*values).where(~started.exists()))
        .on_conflict_do_nothing()
    )


def _count_parts(
    dialect: str, *, new: ColumnElement[int]
) -> ReturningInsert[*tuple[Any, ...]]:
    """Add the number of new parts to the chord, and return its progress.

    The upsert locks the chord's row, so parts are counted one after the other, and the
    last one sees all of them.
    """
    starter_id = chord.c.starter_id
    task_id = bindparam("task_id", type_=starter_id.type)
    insert = insert_into(chord, dialect).values(
        **{"id": _ID, "added": 0, "done": new, "starters": 0},
        **{"starter_id": case((new > 0, task_id)), "touched_at": _TOUCHED_AT},
        header=literal(_UNKNOWN, chord.c.header.type),
    )
    return insert.on_conflict_do_update(
        index_elements=[chord.c.id],
        set_={
            "done": chord.c.done + insert.excluded.done,
            "starter_id": func.coalesce(insert.excluded.starter_id, starter_id),
            "touched_at": insert.excluded.touched_at,
        },
    ).returning(*PROGRESS_COLUMNS, new.label("new"))
