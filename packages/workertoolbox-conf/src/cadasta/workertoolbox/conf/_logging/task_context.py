"""The ids of the current task, and a filter that adds them to log records."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery._state import get_current_task

from cadasta.workertoolbox.routing import without_delay

#: The keys of `task_ids`.
NAMES = ("task_id", "root_id", "queue", "task_name")

#: What Celery's `TaskFormatter` writes into a record outside of a task.
UNKNOWN = "???"

_NO_TASK: dict[str, str | None] = dict.fromkeys(NAMES)
_context: ContextVar[dict[str, str | None]] = ContextVar("context", default=_NO_TASK)


class TaskIdFilter(logging.Filter):
    """Add `task_id`, `root_id`, `queue` and `task_name` to each log record.

    The four attributes are None outside of a task. Attributes that a record already
    has are kept. Add the filter to handlers: the filters of a logger do not see the
    records of its child loggers.

    What the main process of a worker logs about a task, such as "Task … received", has
    ids only if `LOG_FORMAT` is set or Sentry is on.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in task_ids().items():
            if getattr(record, name, UNKNOWN) == UNKNOWN:
                setattr(record, name, value)
        return True


def task_ids() -> dict[str, str | None]:
    """Return the ids of the current task, by `NAMES`; all are None outside of a task.

    The current task is the one that runs in this thread, or else that of
    `task_context`.
    """
    task = get_current_task()
    request = None if task is None else task.request
    if task is None or request is None or request.id is None:
        return _context.get()
    return _ids(request.id, request.root_id, request.delivery_info, task.name)


@contextmanager
def task_context(
    headers: Mapping[str, Any] | None,
    delivery_info: Mapping[str, Any] | None,
    task_name: str,
) -> Iterator[None]:
    """Make a task the current one for a block that handles it but does not run it.

    Args:
        headers: The headers of its message.
    """
    headers = headers or {}
    ids = _ids(headers.get("id"), headers.get("root_id"), delivery_info, task_name)
    token = _context.set(ids)
    try:
        yield
    finally:
        _context.reset(token)


def _ids(
    task_id: str | None,
    root_id: str | None,
    delivery_info: Mapping[str, Any] | None,
    task_name: str,
) -> dict[str, str | None]:
    key = (delivery_info or {}).get("routing_key")
    return {
        "task_id": task_id,
        "root_id": root_id or task_id,
        "queue": None if key is None else without_delay(str(key)),
        "task_name": task_name,
    }
