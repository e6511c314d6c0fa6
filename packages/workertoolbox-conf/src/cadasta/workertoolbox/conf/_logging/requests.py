"""Add the ids of a task to what the main process of a worker logs about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from celery import Celery
from celery.app.task import Task
from celery.worker import request
from celery.worker.strategy import default

from cadasta.workertoolbox.conf._logging.task_context import task_context


class Request(request.Request):
    """A request that makes its task the current one while a failure is reported."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        with self._task_context():
            super().on_timeout(soft, timeout)

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        with self._task_context():
            return super().on_failure(*args, **kwargs)

    def _task_context(self) -> AbstractContextManager[None]:
        ids = {"id": self.id, "root_id": self.root_id}
        return task_context(ids, self.delivery_info, self.name)


def strategy(
    task: Task[Any, Any], app: Celery, consumer: Any, **options: Any
) -> Callable[..., Any]:
    """Return Celery's default strategy, wrapped to make its task the current one."""
    handle = default(task, app, consumer, **options)

    def handle_message(message: Any, *args: Any, **kwargs: Any) -> Any:
        with task_context(message.headers, message.delivery_info, task.name):
            return handle(message, *args, **kwargs)

    return handle_message


def add_ids_to_requests(app: Celery) -> None:
    """Use `strategy` and `Request` for the tasks of an app.

    A task keeps a strategy or a request class of its own.
    """
    for task in app.tasks.values():
        if task.Strategy == Task.Strategy:
            task.Strategy = f"{__name__}:{strategy.__name__}"
        if task.Request == Task.Request:
            task.Request = f"{__name__}:{Request.__name__}"
