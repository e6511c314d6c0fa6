"""The state of a chord in the database: which of its tasks are done.

Tables: a row per chord (`workertoolbox_chord`), and a row per header task that is done,
until the body starts (`workertoolbox_chord_part`).
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
class Part:
    """What became of one task of a header.

    Attributes:
        chord_id: Id of the group that the header is.
        task_id: Its own id.
        position: Where in the header it stands, -1 if that is not known.
        status: A final state.
        result: The value or the exception, encoded.
    """

    chord_id: str
    task_id: str
    position: int
    status: str
    result: bytes


@dataclass(frozen=True)
class Progress:
    """How far a chord is.

    Attributes:
        size: Tasks in the header; None while they are being published.
        added: Tasks that were added to it later.
        done: How many of both are done.
        starters: How many have taken it over to start the body.
        started: Whether the body has been published, or has failed.
    """

    size: int | None
    added: int
    done: int
    starters: int
    started: bool

    @property
    def complete(self) -> bool:
        """Whether all are done."""
        return self.size is not None and self.done >= self.size + self.added

    @property
    def waiting(self) -> bool:
        """Whether all are done, and the body is not started."""
        return self.complete and not self.started


def begin(database: Database, id: str, header: bytes | None) -> None:
    """Remember a chord before its header is published.

    Whoever publishes it may be run twice: what is counted stays, as the header has the
    same ids. One whose body has started begins anew.

    Args:
        header: The results of the header, encoded, where they are no plain list.
    """
    values = {"chord_id": id, "header": header, "touched_at": datetime.now(UTC)}
    execute(database, _begin(database.dialect), values)


def set_size(database: Database, id: str, size: int) -> None:
    """Say how many tasks there are in the header."""
    values = {"chord_id": id, "new_size": size, "touched_at": datetime.now(UTC)}
    execute(database, _set_size(database.dialect), values)


def add(database: Database, id: str) -> None:
    """Say that there is one more."""
    with database.connect() as connection:
        one_more = update(chord).values(added=chord.c.added + 1)
        connection.execute(one_more.where(chord.c.id == id))


def record(database: Database, part: Part) -> tuple[Progress, bool]:
    """Count a task that is done, once.

    Returns:
        How far the chord is, and whether this was news; of all that record its parts,
        exactly one sees it complete by its own news.
    """
    values = {**asdict(part), "touched_at": datetime.now(UTC)}
    # On the disk before the state of the task is: if the server crashed in between, the
    # state alone would be tried again.
    statements = _record(database.dialect)
    [[*progress, news]] = execute(database, statements, values).rows
    return _progress(progress), bool(news)


def find(database: Database, id: str) -> Progress | None:
    """Return how far a chord is, or None if it is not known."""
    with database.connect() as connection:
        row = connection.execute(select(*_PROGRESS).where(chord.c.id == id)).first()
    return None if row is None else _progress(row)


def take_over(database: Database, id: str, progress: Progress) -> bool:
    """Be the one who starts the body, unless somebody has since `progress`."""
    same = (chord.c.id == id) & (chord.c.starters == progress.starters)
    statement = update(chord).where(same, chord.c.started_at.is_(None))
    with database.connect() as connection:
        taken = connection.execute(statement.values(starters=chord.c.starters + 1))
        return taken.rowcount == 1


def fetch(database: Database, id: str) -> tuple[bytes | None, list[Part]]:
    """Return the header as it was begun with, and the parts in its order."""
    header, parts = _fetch(database.dialect)
    [[encoded]] = execute(database, [header], {"chord_id": id}).rows
    rows = execute(database, [parts], {"chord_id": id}).rows
    return encoded, [Part(*row) for row in rows]


def end(database: Database, id: str) -> None:
    """Say that the body is started; what comes now comes late."""
    values = {"chord_id": id, "now": datetime.now(UTC)}
    execute(database, _end(database.dialect), values)


_PROGRESS = (
    chord.c.size,
    chord.c.added,
    chord.c.done,
    chord.c.starters,
    chord.c.started_at,
)


def _progress(row: Sequence[Any]) -> Progress:
    size, added, done, starters, started_at = row
    return Progress(size, added, done, starters, started_at is not None)


_ID: BindParameter[str] = bindparam("chord_id", type_=chord.c.id.type)
_TOUCHED_AT: BindParameter[datetime] = bindparam("touched_at", type_=Instant())


@cache
def _begin(dialect: Dialect) -> list[Statement]:
    anew = {"size": null(), "added": 0, "done": 0, "starters": 0}
    header = bindparam("header", type_=chord.c.header.type)
    known = {"header": header, "touched_at": _TOUCHED_AT, "started_at": null()}
    insert = insert_into(chord, dialect.name).values(id=_ID, **anew, **known)
    started = chord.c.started_at.is_not(None)
    again = {name: case((started, anew[name]), else_=chord.c[name]) for name in anew}
    upsert = insert.on_conflict_do_update(
        index_elements=[chord.c.id], set_={**again, **known}
    )
    return [compile_statement(dialect, upsert)]


@cache
def _set_size(dialect: Dialect) -> list[Statement]:
    size = bindparam("new_size", type_=chord.c.size.type)
    sized = update(chord).values(size=size, touched_at=_TOUCHED_AT)
    return [compile_statement(dialect, sized.where(chord.c.id == _ID))]


@cache
def _record(dialect: Dialect) -> list[Statement]:
    part = _insert_part(dialect.name)
    if dialect.name == "sqlite":
        # How many rows the statement before has changed.
        count = _count("sqlite", new=func.changes(type_=chord.c.done.type))
        return [compile_statement(dialect, each) for each in (part, count)]
    inserted = part.returning(chord_part.c.task_id).cte("part")
    news = select(func.count()).select_from(inserted).scalar_subquery()
    return [compile_statement(dialect, _count(dialect.name, new=news))]


@cache
def _fetch(dialect: Dialect) -> list[Statement]:
    header = select(chord.c.header).where(chord.c.id == _ID)
    parts = select(*chord_part.c).where(chord_part.c.chord_id == _ID)
    parts = parts.order_by(chord_part.c.position, chord_part.c.task_id)
    return [compile_statement(dialect, each) for each in (header, parts)]


@cache
def _end(dialect: Dialect) -> list[Statement]:
    now = bindparam("now", type_=Instant())
    started = update(chord).values(started_at=now, touched_at=now)
    started = started.where(chord.c.id == _ID)
    return [compile_statement(dialect, each) for each in (started, _DELETE_PARTS)]


_DELETE_PARTS = delete(chord_part).where(chord_part.c.chord_id == _ID)


def _insert_part(dialect: str) -> Insert:
    """Insert a part that is not known yet, of a chord whose body is not started."""
    late = select(chord.c.id).where(
        chord.c.id == _ID,
        chord.c.started_at.is_not(None),
    )
    given = [bindparam(column.name, type_=column.type) for column in chord_part.c]
    return (
        insert_into(chord_part, dialect)
        .from_select(chord_part.c.keys(), select(*given).where(~late.exists()))
        .on_conflict_do_nothing()
    )


def _count(
    dialect: str, *, new: ColumnElement[int]
) -> ReturningInsert[*tuple[Any, ...]]:
    """Count the parts that are new; whoever does it last sees all of them.

    The row is locked by this, so one waits for the other.
    """
    insert = insert_into(chord, dialect).values(
        id=_ID,
        added=0,
        done=new,
        starters=0,
        touched_at=_TOUCHED_AT,
    )
    return insert.on_conflict_do_update(
        index_elements=[chord.c.id],
        set_={
            "done": chord.c.done + insert.excluded.done,
            "touched_at": insert.excluded.touched_at,
        },
    ).returning(*_PROGRESS, new.label("new"))
