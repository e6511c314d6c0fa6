"""The journal: which tasks an operation publishes, and which it has published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import Engine, insert, update

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text
from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._database.tables import operation, operation_task
from cadasta.workertoolbox.results._reruns.messages import new_id
from cadasta.workertoolbox.results._store.operations import (
    PUBLISHING,
    REFUSED,
    WAITING,
    OperationTask,
)

#: Characters of an operation's key: few, because people type it.
_KEY_LENGTH = 12

#: Maximum length in characters of each text.
MAX_LENGTH = 1000


class Entry(NamedTuple):
    """A task that an operation is to publish, or refuses.

    Attributes:
        refusal: Why it cannot be published.
    """

    task_id: str
    name: str | None
    refusal: str | None = None


def begin(
    engine: Engine,
    entries: Sequence[Entry],
    *,
    planned_at: datetime,
    kind: str,
    made_by: str,
    reason: str | None,
    selection: str,
) -> str:
    """Store a new operation, and return its key.

    Args:
        planned_at: When it was checked which other operations contain the tasks.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statements.
    """
    id, now = uuid4().hex[:_KEY_LENGTH], datetime.now(UTC)
    rows = [
        {
            "operation_id": id,
            "task_id": entry.task_id,
            "position": position,
            "name": entry.name,
            "new_id": new_id(id, entry.task_id),
            "state": REFUSED if entry.refusal else WAITING,
            "note": _text(entry.refusal),
            "changed_at": now,
        }
        for position, entry in enumerate(entries)
    ]
    values = {
        "id": id,
        "kind": kind,
        "made_by": _text(made_by),
        "reason": _text(reason),
        "selection": _text(selection),
        "tasks": len(rows),
        "started_at": planned_at,
    }
    with translate_errors(engine), engine.begin() as connection:
        connection.execute(insert(operation), values)
        connection.execute(insert(operation_task), rows)
    return id


def claim(engine: Engine, entry: OperationTask) -> OperationTask | None:
    """Store that a task is about to be published, and return its new state.

    Until the process settles it, the task has no note.

    Returns:
        None if another process has claimed the task, or has published it.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
    """
    return _change(engine, entry, PUBLISHING, None)


def settle(
    engine: Engine, entry: OperationTask, state: str, note: str | None
) -> OperationTask:
    """Store what became of a task, and return its new state.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
    """
    return _change(engine, entry, state, note) or entry


def finish(engine: Engine, id: str) -> None:
    """Store that an operation has no task left that it can publish.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
    """
    query = update(operation).where(operation.c.id == id)
    with translate_errors(engine), engine.begin() as connection:
        connection.execute(query.values(finished_at=datetime.now(UTC)))


def _change(
    engine: Engine, entry: OperationTask, state: str, note: str | None
) -> OperationTask | None:
    columns = operation_task.c
    changed = replace(
        entry, state=state, note=_text(note), changed_at=datetime.now(UTC)
    )
    statement = (
        update(operation_task)
        .where(
            columns.operation_id == entry.operation_id,
            columns.task_id == entry.task_id,
            columns.state == entry.state,
            columns.changed_at == entry.changed_at,
        )
        .values(state=state, note=changed.note, changed_at=changed.changed_at)
    )
    with translate_errors(engine), engine.begin() as connection:
        return changed if connection.execute(statement).rowcount == 1 else None


def _text(value: str | None) -> str | None:
    return None if value is None else jsonable_text(value)[:MAX_LENGTH]
