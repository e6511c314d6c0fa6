"""Ends of tasks that no worker runs, so that no worker stores their end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from celery.exceptions import ChordError, TaskRevokedError
from sqlalchemy import Connection, Row, func

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows

#: The columns of `celery_taskmeta` that an end has; NULL where it has no value.
_COLUMNS = (
    *("task_id", "status", "result", "date_done", "traceback", "name", "queue"),
    *("root_id", "parent_id", "group_id", "retries", "published_at", "not_run"),
    *("result_bytes", "forgotten"),
)

#: The columns of `workertoolbox_task` that `end_of` needs.
TASK_COLUMNS = ("id", "name", "queue", "root_id", "parent_id", "group_id", "retries")

#: Maximum number of rows in a statement.
_BATCH_SIZE = 1000


def end_of(
    task: Row[Any], status: str, *, ended_at: datetime, **values: Any
) -> dict[str, Any]:
    """Return the end of a task, for `store_ends`.

    Args:
        task: A row with `TASK_COLUMNS`.
        values: More columns of `celery_taskmeta`.
    """
    _, *names = TASK_COLUMNS
    return {
        **{name: getattr(task, name) for name in names},
        "task_id": task.id,
        "status": status,
        "date_done": naive_utc(ended_at),
        **values,
    }


def store_ends(
    connection: Connection, rows: Iterable[Mapping[str, Any]], faulty: FaultyRows
) -> set[str]:
    """Store the ends of tasks without a result; existing results stay.

    Args:
        rows: Values of the columns of `celery_taskmeta`; names are cut to their length.
        faulty: Leaves out ends that the database refuses. Its ids, for example, are
            shorter than those of messages.

    Returns:
        The ids of the tasks whose ends were stored.
    """
    insert = insert_into(taskmeta, connection.dialect.name).on_conflict_do_nothing()
    if connection.dialect.name == "postgresql":
        insert = insert.values(id=func.nextval("task_id_sequence"))
    # Inline, because a monitor may not read the number of the row.
    statement = insert.inline().returning(taskmeta.c.task_id)

    def insert_some(some: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return connection.scalars(statement, some).all()

    stored: set[str] = set()
    # All monitors lock rows in the same order, so that they cannot deadlock.
    values = [_values(row) for row in sorted(rows, key=_id_of)]
    for start in range(0, len(values), _BATCH_SIZE):
        some = values[start : start + _BATCH_SIZE]
        stored.update(
            faulty.process(
                *(connection, some, insert_some), what="end of task", key=_id_of
            )
        )
    return stored


_id_of: Callable[[Mapping[str, Any]], str] = itemgetter("task_id")


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: row.get(name) for name in _COLUMNS}
    for name in ("name", "queue"):
        values[name] = values[name] and values[name][:NAME_LENGTH]
    return values


def encode_revocation(reason: str) -> bytes:
    """Return a `TaskRevokedError` as Celery encodes it in JSON."""
    return _encode(TaskRevokedError, [reason])


def encode_chord_error(message: str) -> bytes:
    """Return a `ChordError` as Celery encodes it in JSON."""
    return _encode(ChordError, [message])


def _encode(kind: type[Exception], arguments: Sequence[str]) -> bytes:
    error = {
        "exc_type": kind.__name__,
        "exc_message": arguments,
        "exc_module": kind.__module__,
    }
    return json.dumps(error).encode()
