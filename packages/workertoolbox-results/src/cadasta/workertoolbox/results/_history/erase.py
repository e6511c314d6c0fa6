"""Erasure of one task or one workflow from all tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import Connection, Engine, select

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.archived import find_last_ends
from cadasta.workertoolbox.results._database.engine import (
    begin_write_transaction,
    translate_errors,
)
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    chord,
    chord_part,
    error_group,
    history,
    operation_task,
    planned,
    quarantine,
    task,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._history.error_groups import forget_samples
from cadasta.workertoolbox.results._history.expiry_rule import QUARANTINED, TASKS
from cadasta.workertoolbox.results._history.purge import (
    BATCH_SIZE,
    delete_rows,
)
from cadasta.workertoolbox.results._workflows.members import WorkflowIds, find_workflow

_LIVE_ID_COLUMNS = (task.c.id, attempt.c.task_id, planned.c.id, taskmeta.c.task_id)
_TASK_ID_COLUMNS = (*_LIVE_ID_COLUMNS, history.c.id, operation_task.c.task_id)
#: The columns that `forget_samples` empties.
_SAMPLE_COLUMNS = (error_group.c.first_task_id, error_group.c.last_task_id)
_GROUP_ID_COLUMNS = (tasksetmeta.c.taskset_id, chord.c.id, chord_part.c.chord_id)


def erase_task(engine: Engine, id: str) -> Iterator[Counter[str]]:
    """Delete one task from all tables, in the same way as `erase_workflow`."""
    only = WorkflowIds({jsonable(id)}, set(), set(), {})
    yield from _erase(engine, lambda connection: only)
    # A chord that has not ended would wait for the part for good.
    ended = select(chord.c.id).where(chord.c.started_at.is_not(None))
    scope = chord_part.c.chord_id.in_(ended)
    with translate_errors(engine), engine.begin() as connection:
        begin_write_transaction(connection)
        ids = sorted(only.task_ids)
        delete_rows(connection, [chord_part.c.task_id], ids, scope=scope)


def erase_workflow(engine: Engine, root_id: str) -> Iterator[Counter[str]]:
    """Delete the tasks, groups, chords and quarantined messages of a workflow.

    The search is repeated until it finds nothing. Rows that arrive later are kept, such
    as a message that is still in the monitor queue, or the result of a running task.

    Args:
        root_id: Id of the task that began the workflow, or of one of its groups.

    Yields:
        The number of deleted tasks and messages, after each transaction.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
    """
    id = jsonable(root_id)
    # The tasks that are deleted first may be those that join the others.
    known = WorkflowIds({id}, {id}, {id}, {})

    def find(connection: Connection) -> WorkflowIds:
        found = find_workflow(connection, *known.root_ids, *known.group_ids)
        for ids, new in zip(known[:3], found[:3], strict=True):
            ids |= new
        return known

    return _erase(engine, find)


def _erase(
    engine: Engine, find: Callable[[Connection], WorkflowIds]
) -> Iterator[Counter[str]]:
    with translate_errors(engine):
        while True:
            with engine.connect() as connection:
                workflow = find(connection)
                ids = _existing(connection, workflow.task_ids)
                messages = _quarantined(connection, workflow)
            for start in range(0, max(len(ids), len(messages)), BATCH_SIZE):
                batch = slice(start, start + BATCH_SIZE)
                with engine.begin() as connection:
                    begin_write_transaction(connection)
                    delete_rows(connection, [quarantine.c.id], messages[batch])
                    _delete_tasks(connection, ids[batch])
                yield Counter(
                    {TASKS: len(ids[batch]), QUARANTINED: len(messages[batch])}
                )
            groups = sorted(workflow.group_ids)
            for start in range(0, len(groups), BATCH_SIZE):
                with engine.begin() as connection:
                    begin_write_transaction(connection)
                    some = groups[start : start + BATCH_SIZE]
                    delete_rows(connection, _GROUP_ID_COLUMNS, some)
            if not ids and not messages:
                return


def _existing(connection: Connection, task_ids: Iterable[str]) -> Sequence[str]:
    """Return those ids of which a table has a row, in order."""
    ids = sorted(task_ids)
    found: set[str] = set()
    for start in range(0, len(ids), BATCH_SIZE):
        some = ids[start : start + BATCH_SIZE]
        found |= {each.id for each in find_last_ends(connection, some)}
        for column in (*_LIVE_ID_COLUMNS, *_SAMPLE_COLUMNS):
            found |= {*connection.scalars(select(column).where(column.in_(some)))}
    return sorted(found)


def _quarantined(connection: Connection, workflow: WorkflowIds) -> Sequence[int]:
    """Return the numbers of the messages in quarantine that name the workflow."""
    headers = quarantine.c.headers
    wanted = {"id": workflow.task_ids, "root_id": workflow.root_ids}
    found: set[int] = set()
    for key, ids in wanted.items():
        values = sorted(ids)
        for start in range(0, len(values), BATCH_SIZE):
            some = values[start : start + BATCH_SIZE]
            query = select(quarantine.c.id).where(headers[key].as_string().in_(some))
            found |= {*connection.scalars(query)}
    return sorted(found)


def _delete_tasks(connection: Connection, ids: Sequence[str]) -> None:
    if connection.dialect.name != "sqlite":
        # Locks tasks, and then results, in the order in which monitors write them: by
        # id, in the collation of the database. The archiver skips locked rows.
        for id in (task.c.id, taskmeta.c.task_id):
            ordered = select(id).where(id.in_(ids)).order_by(id)
            connection.execute(ordered.with_for_update())
    delete_rows(connection, _TASK_ID_COLUMNS, ids)
    # After the locks, because an archiver could still add the errors of these tasks.
    forget_samples(connection, ids)
