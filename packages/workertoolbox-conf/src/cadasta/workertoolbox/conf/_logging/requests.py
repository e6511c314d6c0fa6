"""What a worker's main process says of a task carries the ids of the task."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from celery import Celery
from celery.app.task import Task
from celery.worker import request
from celery.worker.strategy import default

from cadasta.workertoolbox.conf._logging.task_context import handling


class Request(request.Request):
    """A request that names its task when the pool tells how it went."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        with self._handling():
            super().on_timeout(soft, timeout)

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        with self._handling():
            return super().on_failure(*args, **kwargs)

    def _handling(self) -> AbstractContextManager[None]:
        ids = {"id": self.id, "root_id": self.root_id}
        return handling(ids, self.delivery_info, self.name)


def strategy(
    task: Task[Any, Any], app: Celery, consumer: Any, **options: Any
) -> Callable[..., Any]:
    """Return Celery's way to take a message, with its ids on what is logged."""
    handle = default(task, app, consumer, **options)

    def handle_message(message: Any, *args: Any, **kwargs: Any) -> Any:
        with handling(message.headers, message.delivery_info, task.name):
            return handle(message, *args, **kwargs)

    return handle_message


def name_tasks(app: Celery) -> None:
    """Have the tasks of an app taken so, but for those with a way of their own."""
    for task in app.tasks.values():
        if task.Strategy == Task.Strategy:
            task.Strategy = f"{__name__}:{strategy.__name__}"
        if task.Request == Task.Request:
            task.Request = f"{__name__}:{Request.__name__}"
