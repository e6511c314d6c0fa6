"""One task, or one workflow, that is deleted wherever it is."""

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

_OF_A_TASK = (
    task.c.id,
    attempt.c.task_id,
    planned.c.id,
    queued.c.task_id,
    untracked.c.task_id,
    taskmeta.c.task_id,
)
_OF_A_GROUP = (tasksetmeta.c.taskset_id, chord.c.id, chord_part.c.chord_id)


def erase_task(engine: Engine, id: str) -> Iterator[Counter[str]]:
    """Delete one task, as `erase_workflow` does."""
    id = jsonable(id)
    headers = quarantine.c.headers
    return _erase(engine, tasks.c.id == id, headers["id"].as_string() == id)


def erase_workflow(engine: Engine, root_id: str) -> Iterator[Counter[str]]:
    """Delete all tasks of a workflow, with its groups, chords and unread messages.

    It looks again until it finds nothing. What comes after that, a message that is
    still in the monitor queue or the result of a task that still runs, is stored.

    Yields:
        How many of what were deleted, after each transaction.

    Raises:
        DatabaseUnavailable: It cannot be reached or refuses.
    """
    id = jsonable(root_id)
    wanted = or_(tasks.c.root_id == id, tasks.c.id == id)
    headers = quarantine.c.headers
    unread = or_(headers["root_id"].as_string() == id, headers["id"].as_string() == id)
    return _erase(engine, wanted, unread, with_groups=True)


def _erase(
    engine: Engine,
    wanted: ColumnElement[bool],
    unread: ColumnElement[bool],
    *,
    with_groups: bool = False,
) -> Iterator[Counter[str]]:
    query = select(tasks.c.id, tasks.c.group_id).where(wanted)
    with translate_errors(engine):
        while True:
            with engine.connect() as connection:
                rows = connection.execute(query).all()
                messages = connection.scalars(select(quarantine.c.id).where(unread))
                left = messages.all()
            for start in range(0, max(len(rows), len(left)), BATCH_SIZE):
                some = slice(start, start + BATCH_SIZE)
                with engine.begin() as connection:
                    begin_write_transaction(connection)
                    delete_rows(connection, [quarantine.c.id], left[some])
                    _delete_tasks(connection, rows[some], with_groups=with_groups)
                yield Counter({TASKS: len(rows[some]), QUARANTINED: len(left[some])})
            if not rows and not left:
                return


def _delete_tasks(
    connection: Connection, rows: Sequence[Row[Any, Any]], *, with_groups: bool
) -> None:
    ids = [row.id for row in rows]
    if connection.dialect.name != "sqlite":
        # Waited for, in the order in which monitors write them: the database's.
        ordered = select(task.c.id).order_by(task.c.id)
        connection.execute(ordered.where(task.c.id.in_(ids)).with_for_update())
    delete_rows(connection, _OF_A_TASK, ids)
    if with_groups:
        groups = {row.group_id for row in rows if row.group_id is not None}
        delete_rows(connection, _OF_A_GROUP, sorted(groups))
