"""`/workflows`: workflows as a whole, and their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._workflows.placed_tasks import (
    PlacedTask,
    placed_tasks,
)
from cadasta.workertoolbox.results._workflows.workflow import Workflow
from cadasta.workertoolbox.results.web.api.answer_size import (
    ids_after,
    next_token,
    read_bounded,
)
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import Id, Limit, Token


def get(store: TaskStore, *, id: Id) -> Workflow:
    """Return the status of a workflow, its critical path and what holds it up.

    Args:
        id: Id of any task of the workflow, or of one of its groups.
    """
    return store.workflow_of(id, shortened=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTaskPage(JsonRecord):
    """Some of the tasks of a workflow.

    Attributes:
        items: The tasks, in the order of the tree.
        next: The token of the next page, for `page`; None on the last page.
    """

    items: Sequence[PlacedTask]
    next: str | None


def tasks(
    store: TaskStore, *, id: Id, limit: Limit = 500, page: Token = None
) -> PlacedTaskPage:
    """Return the tasks of a workflow in the order of its tree, parents first.

    A page ends early after 8 MiB. Results of more than 64 KiB are `<truncated: …>`.

    Args:
        id: Id of any task of the workflow, or of one of its groups.
        limit: Maximum number of tasks on a page.
        page: `next` of the page before.
    """
    workflow = store.workflow_of(id, outline=True)
    ids = ids_after([node.task.id for _, node in workflow.walk()], page)
    found = {each.id: each for each in read_bounded(store, ids, limit)}
    reruns = store.reruns(found)
    new_ids = {key: [each.new_id for each in some] for key, some in reruns.items()}
    items = [
        replace(each, task=found[each.task.id])
        for each in placed_tasks(workflow, new_ids)
        if each.task.id in found
    ]
    shown = [each.task for each in items]
    return PlacedTaskPage(items=items, next=next_token(ids, shown))


ENDPOINTS = (
    Endpoint("/workflows/{id}/tasks", tasks),
    Endpoint("/workflows/{id}", get),
)
