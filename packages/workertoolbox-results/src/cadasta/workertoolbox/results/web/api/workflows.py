"""`/workflows`: workflows as a whole, and their tasks."""

from __future__ import annotations

from collections.abc import Sequence

from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._workflows.placed_tasks import (
    PlacedTask,
    placed_tasks,
)
from cadasta.workertoolbox.results._workflows.workflow import Workflow
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import Id


def get(store: TaskStore, *, id: Id) -> Workflow:
    """Return the status of a workflow, its critical path and what holds it up.

    Args:
        id: Id of any task of the workflow, or of one of its groups.
    """
    return store.workflow_of(id, shortened=True)


def tasks(store: TaskStore, *, id: Id) -> Sequence[PlacedTask]:
    """Return the tasks of a workflow in the order of its tree, parents first.

    Args:
        id: Id of any task of the workflow, or of one of its groups.
    """
    workflow = store.workflow_of(id)
    reruns = store.reruns(node.task.id for _, node in workflow.walk())
    new_ids = {key: [each.new_id for each in some] for key, some in reruns.items()}
    return [*placed_tasks(workflow, new_ids)]


ENDPOINTS = (
    Endpoint("/workflows/{id}/tasks", tasks),
    Endpoint("/workflows/{id}", get),
)
