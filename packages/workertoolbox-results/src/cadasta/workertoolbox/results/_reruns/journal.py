"""The journal: which tasks an operation publishes, and which it has published."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update

from cadasta.workertoolbox.results._database.engine import (
    begin_write_transaction,
    translate_errors,
)
from cadasta.workertoolbox.results._database.tables import operation, operation_task
from cadasta.workertoolbox.results._database.time_limits import begin_limited
from cadasta.workertoolbox.results._reruns.messages import new_id
from cadasta.workertoolbox.results._store.operations.journal import (
    PUBLISHED,
    PUBLISHING,
    REFUSED,
    WAITING,
    Operation,
    OperationTask,
)
from cadasta.workertoolbox.results._store.operations.rows import (
    KEY_LENGTH,
    add_operation,
    journal_text,
)

#: The states in which a task is published, or soon will be.
_CLAIMED = (PUBLISHING, PUBLISHED)


class Entry(NamedTuple):
    """A task that an operation is to publish, or refuses.

    Attributes:
        refusal: Why it cannot be published.
    """

    task_id: str
    name: str | None
    refusal: str | None = None


def is_key(text: str) -> bool:
    """Return whether a text has the form of a key."""
    return re.fullmatch(f"[0-9a-f]{{{KEY_LENGTH}}}", text) is not None


def begin(
    engine: Engine,
    entries: Sequence[Entry],
    *,
    timeout_s: float,
    id: str,
    planned_at: datetime,
    kind: str,
    made_by: str | None,
    reason: str | None,
    selection: str,
) -> None:
    """Store a new operation.

    Args:
        timeout_s: Seconds that each statement may take.
        id: Its key.
        planned_at: When it was checked which other operations contain the tasks.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statements.
        QueryTimeout: The tables are locked for longer.
    """
    now = datetime.now(UTC)
    rows = [
        {
            "operation_id": id,
            "task_id": entry.task_id,
            "position": position,
            "name": entry.name,
            "new_id": new_id(id, entry.task_id),
            "state": REFUSED if entry.refusal else WAITING,
            "note": journal_text(entry.refusal),
            "changed_at": now,
        }
        for position, entry in enumerate(entries)
    ]
    with begin_limited(engine, timeout_s) as connection:
        add_operation(
            connection,
            id=id,
            kind=kind,
            made_by=made_by,
            reason=reason,
            selection=selection,
            tasks=len(rows),
            started_at=planned_at,
        )
        connection.execute(insert(operation_task), rows)


def claim(engine: Engine, entry: OperationTask, own: Operation) -> OperationTask | None:
    """Store that a task is about to be published, and return its new state.

    Until the process settles it, the task has no note. It is refused if another
    operation has claimed the same task meanwhile: of several, one publishes it.

    Args:
        own: The operation of the entry.

    Returns:
        None if another process has claimed the task, or has published it.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
    """
    with translate_errors(engine), engine.begin() as connection:
        # Otherwise two processes could read before both write.
        begin_write_transaction(connection)
        rival = find_rival(_lock_reruns(connection, entry), own)
        if rival is not None:
            return _change(connection, entry, REFUSED, rival)
        return _change(connection, entry, PUBLISHING, None)


def find_rival(reruns: Iterable[OperationTask], own: Operation) -> str | None:
    """Return which other operation has rerun a task since this one started, or None."""
    for each in reruns:
        is_other = each.operation_id != own.id
        is_later = each.changed_at > own.started_at
        if is_other and is_later and each.state in _CLAIMED:
            return f"operation {each.operation_id} has rerun it meanwhile"
    return None


def settle(
    engine: Engine, entry: OperationTask, state: str, note: str | None
) -> OperationTask:
    """Store what became of a task, and return its new state.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
    """
    with translate_errors(engine), engine.begin() as connection:
        return _change(connection, entry, state, note) or entry


def finish(engine: Engine, id: str) -> None:
    """Store that an operation has no task left that it can publish.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses the statement.
    """
    query = update(operation).where(operation.c.id == id)
    with translate_errors(engine), engine.begin() as connection:
        connection.execute(query.values(finished_at=datetime.now(UTC)))


def _lock_reruns(
    connection: Connection, entry: OperationTask
) -> Sequence[OperationTask]:
    """Return the reruns of a task, which no other process changes for now."""
    columns = operation_task.c
    query = select(operation_task).where(columns.task_id == entry.task_id)
    locked = query.order_by(columns.operation_id).with_for_update()
    return [OperationTask(**row) for row in connection.execute(locked).mappings()]


def _change(
    connection: Connection, entry: OperationTask, state: str, note: str | None
) -> OperationTask | None:
    columns = operation_task.c
    changed = replace(
        entry, state=state, note=journal_text(note), changed_at=datetime.now(UTC)
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
    return changed if connection.execute(statement).rowcount == 1 else None
