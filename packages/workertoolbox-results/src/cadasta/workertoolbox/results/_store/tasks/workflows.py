"""The methods of `TaskStore` about workflows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.rows.ids import stored_id
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.tasks.workflow_tasks import (
    read_workflow_tasks,
)
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.members import find_children
from cadasta.workertoolbox.results._workflows.predecessors import find_headers
from cadasta.workertoolbox.results._workflows.summary import make_workflow
from cadasta.workertoolbox.results._workflows.workflow import Workflow


class Workflows(OpenDatabase):
    """The methods of `TaskStore` about workflows."""

    def workflow(
        self, root_id: str, *, internal: bool = False, shortened: bool = False
    ) -> Workflow:
        """Return every task of a workflow, oldest first, with its tree and its status.

        The tasks of a group or a chord that begins outside a task have a root each.
        Such a workflow is found by each of these roots.

        Example:
            What a workflow waits for::

                for holdup in store.workflow(root_id).held_up_by:
                    print(holdup.task.name, holdup.activity, holdup.for_s)

        Args:
            root_id: Id of the task that began the workflow, or of one of its groups.
            internal: Whether to include Celery's own tasks, `celery.*`.
            shortened: As for `get`.

        Returns:
            A sequence of tasks; without any if the id is not known.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        detail = Detail.of(shortened=shortened)
        with self._snapshot() as connection:
            return _read_workflow(
                connection, stored_id(root_id), None, internal=internal, detail=detail
            )

    def workflow_of(
        self, id: str, *, shortened: bool = False, outline: bool = False
    ) -> Workflow:
        """Return the workflow that a task or a group belongs to, as `workflow` does.

        Celery's own tasks are left out, unless the task is one of them.

        Args:
            id: Id of any task of the workflow, or of one of its groups.
            shortened: As for `get`.
            outline: Whether to leave out also the results of tasks that succeeded, and
                what is known of senders: `origin`, `service`, `schedule`, `headers` and
                `arguments`. They are None then.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            TaskNotFound: Neither a monitor nor a worker has seen such a task or group.
        """
        detail = Detail.of(shortened=shortened, outline=outline)
        known_id = stored_id(id)
        with self._snapshot() as connection:
            found = read_tasks(connection, [known_id], detail=detail)
            task = next(iter(found), None)
            root_id = known_id
            if task is not None:
                root_id = task.root_id or task.group_id or known_id
            internal = task is not None and task.internal
            workflow = _read_workflow(
                connection, root_id, task, internal=internal, detail=detail
            )
        if workflow:
            return workflow
        if task is None:
            raise TaskNotFound(id)
        # The database may not know the root of an untracked task.
        return make_workflow([task], now=datetime.now(UTC), internal=True)

    def children(
        self, parent_id: str, *, internal: bool = False, brief: bool = False
    ) -> Sequence[Task]:
        """Return the tasks that a task has published, oldest first.

        Planned steps that follow the task directly are included.

        Args:
            parent_id: Id of the task.
            internal: Whether to include Celery's own tasks, `celery.*`.
            brief: As for `list`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        id = stored_id(parent_id)
        with self._snapshot() as connection:
            ids, days = find_children(connection, id)
            detail = Detail.of(brief=brief)
            tasks = read_tasks(connection, sorted(ids), days=days, detail=detail)
        return _oldest_first(
            task
            for task in tasks
            if task.parent_id == id and (internal or not task.internal)
        )


def _read_workflow(
    connection: Connection,
    root_id: str,
    known: Task | None,
    *,
    internal: bool,
    detail: Detail,
) -> Workflow:
    """Return the workflow of a root or a group.

    Args:
        known: A task of the workflow that was read already.
    """
    if known is None or known.id != root_id:
        known = next(iter(read_tasks(connection, [root_id], detail=detail)), None)
    tasks = read_workflow_tasks(connection, root_id, known, detail)
    steps = [task.id for task in tasks if task.status == PLANNED]
    return make_workflow(
        _oldest_first(tasks),
        now=datetime.now(UTC),
        header_ids=find_headers(connection, steps),
        internal=internal,
    )


def _oldest_first(tasks: Iterable[Task]) -> Sequence[Task]:
    """Return tasks by their publication; planned steps are last."""
    return sorted(tasks, key=lambda task: (task.scheduled_at or NEVER, task.id))
