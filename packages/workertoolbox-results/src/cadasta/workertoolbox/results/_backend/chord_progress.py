"""The progress of chords: which tasks of a header are done.

`workertoolbox_chord` has a row for each chord, and `workertoolbox_chord_part` one for
each header task that is done, until the body starts. If a header task failed, the body
does not start, and the rows stay for a rerun of the failed tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
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

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.statement import (
    Statement,
    compile_statement,
    execute,
)
from cadasta.workertoolbox.results._database.tables import chord, chord_part
from cadasta.workertoolbox.results._database.types import Instant


@dataclass(frozen=True)
class ChordPart:
    """A header task that is done: one row of `workertoolbox_chord_part`.

    Attributes:
        chord_id: Id of the header, which is a group.
        task_id: Id of the task.
        position: Index of the task in the header, -1 if it is not known.
        status: A final state.
        result: The return value or the exception, encoded.
    """

    chord_id: str
    task_id: str
    position: int
    status: str
    result: bytes


@dataclass(frozen=True)
class ChordProgress:
    """The progress of a chord: one row of `workertoolbox_chord`.

    Attributes:
        size: Number of tasks in the header; None while they are being published.
        added: Number of tasks that were added to the header later.
        done: Number of tasks that are done, added ones included.
        starters: How many times a process has claimed the body, in order to start it
            in place of another process.
        started: Whether the body has been published, or has failed.
        starter_id: The task whose process starts the body when all are done: the last
            one that was counted, or that has claimed the body. None if not known.
        is_known: Whether `create` has stored it.
    """

    size: int | None
    added: int
    done: int
    starters: int
    started: bool
    starter_id: str | None = None
    is_known: bool = True

    @property
    def is_complete(self) -> bool:
        """Whether all tasks of the header are done."""
        return self.size is not None and self.done >= self.size + self.added

    @property
    def is_body_due(self) -> bool:
        """Whether all tasks of the header are done and the body has not started."""
        return self.is_complete and not self.started


def create(database: Database, id: str, header: bytes | None) -> None:
    """Store a chord before its header is published.

    The task that publishes the header may run twice. The counts are then kept, because
    the header has the same ids again. They are reset if the body has started already,
    or has failed.

    Args:
        header: The encoded results of a header with nested groups, or None for a flat
            header.
    """
    values = {"chord_id": id, "header": header, "touched_at": datetime.now(UTC)}
    execute(database, _create(database.dialect), values)


def set_size(database: Database, id: str, size: int) -> None:
    """Store the number of tasks in the header."""
    values = {"chord_id": id, "new_size": size, "touched_at": datetime.now(UTC)}
    execute(database, _set_size(database.dialect), values)


def add_task(database: Database, id: str) -> None:
    """Count one more task in the header."""
    statement = update(chord).where(chord.c.id == id).values(added=chord.c.added + 1)
    with database.connect() as connection:
        connection.execute(statement)


def record_part(database: Database, part: ChordPart) -> tuple[ChordProgress, bool]:
    """Count a task that is done, unless it is counted already.

    Returns:
        The progress of the chord, and whether the part is new. For each chord, exactly
        one call returns a complete progress together with a new part.
    """
    values = {**asdict(part), "touched_at": datetime.now(UTC)}
    # Flushed to disk before the task's state is stored: if the server crashed in
    # between and lost the part, the worker would store the state, but not the part.
    statements = _record_part(database.dialect)
    [[*progress, is_new]] = execute(database, statements, values).rows
    return _progress(progress), bool(is_new)


def find(database: Database, id: str) -> ChordProgress | None:
    """Return the progress of a chord, or None if the chord is unknown."""
    query = select(*_PROGRESS_COLUMNS).where(chord.c.id == id)
    with database.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else _progress(row)


def claim_body(database: Database, part: ChordPart, progress: ChordProgress) -> bool:
    """Claim the right to start the body, for the process of a task that is done.

    Returns:
        Whether no other process has claimed or started it since `progress` was read.
    """
    # If the task that published the header runs again, it may reset the counts.
    counts = ("size", "done", "starters")
    unchanged = (chord.c[name] == getattr(progress, name) for name in counts)
    claim = (
        update(chord)
        .where(chord.c.id == part.chord_id, chord.c.started_at.is_(None), *unchanged)
        .values(starters=chord.c.starters + 1, starter_id=part.task_id)
    )
    with database.connect() as connection:
        return connection.execute(claim).rowcount == 1


def fetch_parts(database: Database, id: str) -> tuple[bytes | None, list[ChordPart]]:
    """Return the header as `create` stored it, and the parts in header order."""
    header, parts = _fetch_parts(database.dialect)
    [[encoded]] = execute(database, [header], {"chord_id": id}).rows
    rows = execute(database, [parts], {"chord_id": id}).rows
    return encoded, [ChordPart(*row) for row in rows]


def mark_started(database: Database, id: str, *, keep_parts: bool = False) -> None:
    """Store that the body has started or failed; later parts are not counted.

    Args:
        keep_parts: Whether the parts stay, so that failed ones can be run again.
    """
    values = {"chord_id": id, "now": datetime.now(UTC)}
    mark, deletion = _mark_started(database.dialect)
    execute(database, [mark] if keep_parts else [mark, deletion], values)


_PROGRESS_COLUMNS = (
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


def _progress(row: Sequence[Any]) -> ChordProgress:
    size, added, done, starters, started_at, starter_id, is_known = row
    is_started = started_at is not None
    return ChordProgress(
        size, added, done, starters, is_started, starter_id, bool(is_known)
    )


_ID: BindParameter[str] = bindparam("chord_id", type_=chord.c.id.type)
_TOUCHED_AT: BindParameter[datetime] = bindparam("touched_at", type_=Instant())


@cache
def _create(dialect: Dialect) -> list[Statement]:
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
def _set_size(dialect: Dialect) -> list[Statement]:
    size = bindparam("new_size", type_=chord.c.size.type)
    statement = update(chord).where(chord.c.id == _ID)
    return [
        compile_statement(dialect, statement.values(size=size, touched_at=_TOUCHED_AT))
    ]


@cache
def _record_part(dialect: Dialect) -> list[Statement]:
    part = _insert_part(dialect.name)
    if dialect.name == "sqlite":
        # `changes()` is the number of rows that the previous statement has inserted.
        count = _count_parts("sqlite", new=func.changes(type_=chord.c.done.type))
        return [compile_statement(dialect, statement) for statement in (part, count)]
    inserted = part.returning(chord_part.c.task_id).cte("part")
    new = select(func.count()).select_from(inserted).scalar_subquery()
    return [compile_statement(dialect, _count_parts(dialect.name, new=new))]


@cache
def _fetch_parts(dialect: Dialect) -> list[Statement]:
    header = select(chord.c.header).where(chord.c.id == _ID)
    parts = (
        select(*chord_part.c)
        .where(chord_part.c.chord_id == _ID)
        .order_by(chord_part.c.position, chord_part.c.task_id)
    )
    return [compile_statement(dialect, query) for query in (header, parts)]


@cache
def _mark_started(dialect: Dialect) -> list[Statement]:
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
    ).returning(*_PROGRESS_COLUMNS, new.label("new"))
