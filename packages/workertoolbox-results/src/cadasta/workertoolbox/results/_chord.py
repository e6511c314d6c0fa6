"""The state of a chord in the database: which of its tasks are done.

Tables: a row per chord (`workertoolbox_chord`), and a row per header task that is done,
until the body starts (`workertoolbox_chord_part`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.sql.dml import ReturningInsert

from cadasta.workertoolbox.results._engine import insert_into
from cadasta.workertoolbox.results._statement import Statement, compile_for, execute
from cadasta.workertoolbox.results._tables import chord, chord_part


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
        started_at: When the body was published, or failed.
        starters: How many have taken it over to start the body.
    """

    size: int | None
    added: int
    done: int
    started_at: datetime | None
    starters: int

    @property
    def complete(self) -> bool:
        """Whether all are done."""
        return self.size is not None and self.done >= self.size + self.added

    @property
    def waiting(self) -> bool:
        """Whether all are done, and the body is not started."""
        return self.complete and self.started_at is None


def begin(engine: Engine, id: str, header: bytes | None) -> None:
    """Remember a chord before its header is published; one that is run again, anew.

    Args:
        header: The results of the header, encoded, where they are no plain list.
    """
    row = {
        "header": header,
        "size": None,
        "added": 0,
        "done": 0,
        "starters": 0,
        "started_at": None,
        "touched_at": datetime.now(UTC),
    }
    insert = insert_into(chord, engine.dialect.name).values(id=id, **row)
    with transaction(engine) as connection:
        connection.execute(
            insert.on_conflict_do_update(index_elements=["id"], set_=row)
        )
        connection.execute(delete(chord_part).where(chord_part.c.chord_id == id))


def set_size(engine: Engine, id: str, size: int) -> None:
    """Say how many tasks there are in the header."""
    _change(engine, id, size=size)


def add(engine: Engine, id: str) -> None:
    """Say that there is one more."""
    _change(engine, id, added=chord.c.added + 1)


def record(engine: Engine, part: Part) -> tuple[Progress, bool]:
    """Count a task that is done, once.

    Returns:
        How far the chord is, and whether this was news; of all that record its parts,
        exactly one sees it complete by its own news.
    """
    values = {**asdict(part), "touched_at": datetime.now(UTC)}
    if engine.dialect.name == "sqlite":
        with transaction(engine) as connection:
            new = connection.execute(_insert_part("sqlite"), values).rowcount
            upsert = _count("sqlite", new=literal(new))
            row: Any = connection.execute(upsert, values).one()
    else:
        [row] = execute(engine, _record(engine.dialect), values)
    *progress, new = row
    return Progress(*progress), bool(new)


def find(engine: Engine, id: str) -> Progress | None:
    """Return how far a chord is, or None if it is not known."""
    with engine.connect() as connection:
        row = connection.execute(select(*_PROGRESS).where(chord.c.id == id)).first()
    return None if row is None else Progress(*row)


def take_over(engine: Engine, id: str, progress: Progress) -> bool:
    """Be the one who starts the body, unless somebody has since `progress`."""
    same = (chord.c.id == id) & (chord.c.starters == progress.starters)
    statement = update(chord).where(same, chord.c.started_at.is_(None))
    with engine.connect() as connection:
        taken = connection.execute(statement.values(starters=chord.c.starters + 1))
        return taken.rowcount == 1


def fetch(engine: Engine, id: str) -> tuple[bytes | None, list[Part]]:
    """Return the header as it was begun with, and the parts in its order."""
    parts = select(chord_part).where(chord_part.c.chord_id == id)
    parts = parts.order_by(chord_part.c.position, chord_part.c.task_id)
    with engine.connect() as connection:
        header = connection.scalar(select(chord.c.header).where(chord.c.id == id))
        rows = connection.execute(parts).mappings()
        return header, [Part(**row) for row in rows]


def end(engine: Engine, id: str) -> None:
    """Say that the body is started; what comes now comes late."""
    now = datetime.now(UTC)
    with transaction(engine) as connection:
        connection.execute(
            update(chord).where(chord.c.id == id).values(started_at=now, touched_at=now)
        )
        connection.execute(delete(chord_part).where(chord_part.c.chord_id == id))


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Have several statements be one transaction, on a connection that commits."""
    embedded = engine.dialect.name == "sqlite"
    level = "SERIALIZABLE" if embedded else "READ COMMITTED"
    with engine.execution_options(isolation_level=level).begin() as connection:
        yield connection


_PROGRESS = (
    chord.c.size,
    chord.c.added,
    chord.c.done,
    chord.c.started_at,
    chord.c.starters,
)


def _change(engine: Engine, id: str, **values: Any) -> None:
    values["touched_at"] = datetime.now(UTC)
    with engine.connect() as connection:
        connection.execute(update(chord).where(chord.c.id == id).values(values))


@cache
def _record(dialect: Dialect) -> Statement:
    """Both statements as one, and one round trip."""
    part = _insert_part(dialect.name).returning(chord_part.c.task_id).cte("part")
    news = select(func.count()).select_from(part).scalar_subquery()
    return compile_for(dialect, _count(dialect.name, new=news))


def _insert_part(dialect: str) -> Insert:
    """Insert a part that is not known yet, of a chord whose body is not started."""
    late = select(chord.c.id).where(
        chord.c.id == bindparam("chord_id", type_=chord.c.id.type),
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
        id=bindparam("chord_id", type_=chord.c.id.type),
        added=0,
        done=new,
        starters=0,
        touched_at=bindparam("touched_at", type_=chord.c.touched_at.type),
    )
    return insert.on_conflict_do_update(
        index_elements=[chord.c.id],
        set_={
            "done": chord.c.done + insert.excluded.done,
            "touched_at": insert.excluded.touched_at,
        },
    ).returning(*_PROGRESS, new.label("new"))
