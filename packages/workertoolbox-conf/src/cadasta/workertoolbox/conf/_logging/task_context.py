"""Which task a process is busy with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery._state import get_current_task

from cadasta.workertoolbox.routing import without_delay

#: What is told of a task; None of each where there is none.
NAMES = ("task_id", "root_id", "queue", "task_name")

_NONE: dict[str, str | None] = dict.fromkeys(NAMES)
_handled: ContextVar[dict[str, str | None]] = ContextVar("handled", default=_NONE)


def task_ids() -> dict[str, str | None]:
    """Return the ids of the task that is run or handled here, by `NAMES`."""
    task = get_current_task()
    request = None if task is None else task.request
    if task is None or request is None or request.id is None:
        return _handled.get()
    return _ids(request.id, request.root_id, request.delivery_info, task.name)


@contextmanager
def handling(
    headers: Mapping[str, Any] | None,
    delivery_info: Mapping[str, Any] | None,
    task_name: str,
) -> Iterator[None]:
    """Have `task_ids` tell of a task that is not run here, as long as a block lasts.

    Args:
        headers: Those of its message.
    """
    headers = headers or {}
    ids = _ids(headers.get("id"), headers.get("root_id"), delivery_info, task_name)
    token = _handled.set(ids)
    try:
        yield
    finally:
        _handled.reset(token)


def _ids(
    task_id: str | None,
    root_id: str | None,
    delivery_info: Mapping[str, Any] | None,
    task_name: str,
) -> dict[str, str | None]:
    key = (delivery_info or {}).get("routing_key")
    queue = None if key is None else without_delay(str(key))
    return dict(
        zip(NAMES, (task_id, root_id or task_id, queue, task_name), strict=True)
    )
