"""The progress of chords: which tasks of a header are done.

`workertoolbox_chord` has a row for each chord, and `workertoolbox_chord_part` one for
each header task that is done, until the body starts. If a header task failed, the body
does not start, and the rows stay for a rerun of the failed tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from cadasta.workertoolbox.results._backend import chord_statements
from cadasta.workertoolbox.results._backend.chord_statements import PROGRESS_COLUMNS
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.statement import execute
from cadasta.workertoolbox.results._database.tables import chord


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
    execute(database, chord_statements.create(database.dialect), values)


def set_size(database: Database, id: str, size: int) -> None:
    """Store the number of tasks in the header."""
    values = {"chord_id": id, "new_size": size, "touched_at": datetime.now(UTC)}
    execute(database, chord_statements.set_size(database.dialect), values)


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
    statements = chord_statements.record_part(database.dialect)
    [[*progress, is_new]] = execute(database, statements, values).rows
    return _progress(progress), bool(is_new)


def find(database: Database, id: str) -> ChordProgress | None:
    """Return the progress of a chord, or None if the chord is unknown."""
    query = select(*PROGRESS_COLUMNS).where(chord.c.id == id)
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
    header, parts = chord_statements.fetch_parts(database.dialect)
    [[encoded]] = execute(database, [header], {"chord_id": id}).rows
    rows = execute(database, [parts], {"chord_id": id}).rows
    return encoded, [ChordPart(*row) for row in rows]


def mark_started(database: Database, id: str, *, keep_parts: bool = False) -> None:
    """Store that the body has started or failed; later parts are not counted.

    Args:
        keep_parts: Whether the parts stay, so that failed ones can be run again.
    """
    values = {"chord_id": id, "now": datetime.now(UTC)}
    mark, deletion = chord_statements.mark_started(database.dialect)
    execute(database, [mark] if keep_parts else [mark, deletion], values)


def _progress(row: Sequence[Any]) -> ChordProgress:
    size, added, done, starters, started_at, starter_id, is_known = row
    is_started = started_at is not None
    return ChordProgress(
        size, added, done, starters, is_started, starter_id, bool(is_known)
    )
