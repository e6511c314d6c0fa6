"""`/operations`: commands that published tasks again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.operations.journal import (
    Operation,
    OperationTask,
)
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import Id, Limit, WholeNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationTaskPage(JsonRecord):
    """One page of the tasks of an operation.

    Attributes:
        items: The tasks, in the order in which they are published.
        next: The number of the next page, for `page`; None on the last page.
    """

    items: Sequence[OperationTask]
    next: int | None


def operations(store: TaskStore, *, limit: Limit = 50) -> Sequence[Operation]:
    """Return operations, newest first.

    Args:
        limit: Maximum number of operations.
    """
    return store.operations(limit=limit)


def operation(store: TaskStore, *, id: Id) -> Operation:
    """Return an operation.

    Args:
        id: The key of the operation.
    """
    return store.operation(id)


def tasks(
    store: TaskStore,
    *,
    id: Id,
    limit: Limit = 50,
    page: Annotated[int, WholeNumber(0, 999_999_999)] = 0,
) -> OperationTaskPage:
    """Return the tasks of an operation, in the order in which they are published.

    Args:
        id: The key of the operation.
        limit: Maximum number of tasks on a page.
        page: `next` of the page before.
    """
    store.operation(id)
    found = store.operation_tasks(id, after=page - 1, limit=limit + 1)
    items, more = found[:limit], found[limit:]
    return OperationTaskPage(items=items, next=more[0].position if more else None)


ENDPOINTS = (
    Endpoint("/operations", operations),
    Endpoint("/operations/{id}/tasks", tasks),
    Endpoint("/operations/{id}", operation),
)
