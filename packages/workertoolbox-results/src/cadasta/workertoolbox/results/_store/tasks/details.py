"""Everything about one task: its message, its attempts, and the tasks around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.archived import find_last_ends
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.operations.journal import (
    OperationTask,
    read_reruns,
)
from cadasta.workertoolbox.results._store.rows.ids import stored_id
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt, find_attempts
from cadasta.workertoolbox.results._store.tasks.stored_calls import (
    StoredCall,
    read_calls,
)
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.members import find_children, find_group


@dataclass(frozen=True, slots=True, kw_only=True)
class Relatives:
    """Some of the tasks that are related to a task in one way.

    Attributes:
        tasks: These tasks, oldest first, without large values.
        others: How many more there may be.
    """

    tasks: Sequence[Task] = ()
    others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetails:
    """Everything about one task.

    Attributes:
        call: The task, with what its message says beyond that. Of a result of more than
            64 KiB, only the beginning is read; then `result_bytes` is its size.
        attempts: As `TaskStore.attempts` returns them.
        reruns: Its reruns, oldest first, without those that were refused.
        known: Other tasks that the database knows, by their ids: the parent, the root,
            the task that this one repeats, reruns, children and siblings.
        children: The tasks that it has published, and planned steps after it.
        siblings: The other tasks of its group, or else of its parent.
    """

    call: StoredCall
    attempts: Sequence[Attempt]
    reruns: Sequence[OperationTask]
    known: Mapping[str, Task]
    children: Relatives
    siblings: Relatives

    @property
    def task(self) -> Task:
        """The task."""
        return self.call.task


class SingleTasks(OpenDatabase):
    """The method of `TaskStore` that reads everything about one task."""

    def details(self, id: str, *, limit: int = 20) -> TaskDetails:
        """Return everything about a task.

        Args:
            id: Id of the task.
            limit: Maximum number of children, of siblings and of reruns.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            TaskNotFound: Neither a monitor nor a worker has seen the task.
        """
        wanted = stored_id(id)
        with self._snapshot() as connection:
            for call in read_calls(connection, [wanted], Detail.LIMITED):
                return _read_details(connection, call, limit)
        raise TaskNotFound(id)


def _read_details(connection: Connection, call: StoredCall, limit: int) -> TaskDetails:
    task = call.task
    reruns = read_reruns(connection, [task.id]).get(task.id, ())[-limit:]
    child_ids, child_days = find_children(connection, task.id)
    sibling_ids, sibling_days = _find_siblings(connection, task)
    children = [id for id in child_ids if id != task.id]
    siblings = [id for id in sibling_ids if id != task.id]
    named = {task.parent_id, task.root_id, task.rerun_of}
    named |= {each.new_id for each in reruns}
    ids = {*named, *children[:limit], *siblings[:limit]} - {None, task.id}
    known = _read_known(
        connection, sorted(filter(None, ids)), {**child_days, **sibling_days}
    )
    return TaskDetails(
        call=call,
        attempts=find_attempts(connection, [task.id])[task.id],
        reruns=reruns,
        known=known,
        children=_relatives(known, children, limit),
        siblings=_relatives(known, siblings, limit),
    )


def _find_siblings(
    connection: Connection, task: Task
) -> tuple[Sequence[str], Mapping[str, date]]:
    if task.group_id is not None:
        return find_group(connection, task.group_id)
    if task.parent_id is not None:
        return find_children(connection, task.parent_id)
    return (), {}


def _read_known(
    connection: Connection, ids: Sequence[str], days: Mapping[str, date]
) -> Mapping[str, Task]:
    """Return tasks by their ids; the days of some are known."""
    others = find_last_ends(connection, [id for id in ids if id not in days])
    found = {**days, **{each.id: each.day for each in others}}
    tasks = read_tasks(connection, ids, days=found, detail=Detail.BRIEF)
    return {task.id: task for task in tasks}


def _relatives(known: Mapping[str, Task], ids: Sequence[str], limit: int) -> Relatives:
    tasks = [known[id] for id in ids[:limit] if id in known]
    return Relatives(
        tasks=sorted(tasks, key=lambda task: (task.scheduled_at or NEVER, task.id)),
        others=max(len(ids) - limit, 0),
    )
