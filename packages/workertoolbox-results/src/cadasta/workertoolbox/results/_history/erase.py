"""Erasure of one task or one workflow from all tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, or_, select

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    chord,
    chord_part,
    planned,
    quarantine,
    queued,
    task,
    taskmeta,
    tasks,
    tasksetmeta,
    untracked,
)
from cadasta.workertoolbox.results._history.purge import (
    BATCH_SIZE,
    begin_write_transaction,
    delete_rows,
)
from cadasta.workertoolbox.results._history.retention import QUARANTINED, TASKS

_TASK_ID_COLUMNS = (
    task.c.id,
    attempt.c.task_id,
    planned.c.id,
    queued.c.task_id,
    untracked.c.task_id,
    taskmeta.c.task_id,
)
_GROUP_ID_COLUMNS = (tasksetmeta.c.taskset_id, chord.c.id, chord_part.c.chord_id)


def erase_task(engine: Engine, id: str) -> Iterator[Counter[str]]:
    """Delete one task from all tables, in the same way as `erase_workflow`."""
    id = jsonable(id)
    headers = quarantine.c.headers
    return _erase(engine, tasks.c.id == id, headers["id"].as_string() == id)


def erase_workflow(engine: Engine, root_id: str) -> Iterator[Counter[str]]:
    """Delete the tasks, groups, chords and quarantined messages of a workflow.

    The search is repeated until it finds nothing. Rows that arrive later are kept, such
    as a message that is still in the monitor queue, or the result of a running task.

    Yields:
        The number of deleted tasks and messages, after each transaction.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    id = jsonable(root_id)
    in_workflow = or_(tasks.c.root_id == id, tasks.c.id == id)
    headers = quarantine.c.headers
    quarantined = or_(
        headers["root_id"].as_string() == id, headers["id"].as_string() == id
    )
    return _erase(engine, in_workflow, quarantined, with_groups=True)


def _erase(
    engine: Engine,
    is_wanted: ColumnElement[bool],
    is_quarantined: ColumnElement[bool],
    *,
    with_groups: bool = False,
) -> Iterator[Counter[str]]:
    query = select(tasks.c.id, tasks.c.group_id).where(is_wanted)
    messages_query = select(quarantine.c.id).where(is_quarantined)
    with translate_errors(engine):
        while True:
            with engine.connect() as connection:
                rows = connection.execute(query).all()
                messages = connection.scalars(messages_query).all()
            for start in range(0, max(len(rows), len(messages)), BATCH_SIZE):
                batch = slice(start, start + BATCH_SIZE)
                with engine.begin() as connection:
                    begin_write_transaction(connection)
                    delete_rows(connection, [quarantine.c.id], messages[batch])
                    _delete_tasks(connection, rows[batch], with_groups=with_groups)
                yield Counter(
                    {TASKS: len(rows[batch]), QUARANTINED: len(messages[batch])}
                )
            if not rows and not messages:
                return


def _delete_tasks(
    connection: Connection, rows: Sequence[Row[Any, Any]], *, with_groups: bool
) -> None:
    ids = [row.id for row in rows]
    if connection.dialect.name != "sqlite":
        # Locks the tasks in the order in which monitors write them: by id, in the
        # collation of the database.
        ordered = select(task.c.id).order_by(task.c.id)
        connection.execute(ordered.where(task.c.id.in_(ids)).with_for_update())
    delete_rows(connection, _TASK_ID_COLUMNS, ids)
    if with_groups:
        groups = {row.group_id for row in rows if row.group_id is not None}
        delete_rows(connection, _GROUP_ID_COLUMNS, sorted(groups))
