"""Queues whose arguments are wishes: a queue that exists otherwise is used as it is."""

from __future__ import annotations

from typing import Any

from kombu import Queue


class TaskQueue(Queue):
    """A queue of tasks.

    On RabbitMQ it may have been declared with other arguments, by another team, by an
    older release or by an operator, or this service may lack the permission to declare
    it. It is then used as it is.
    """

    def declare(self, nowait: bool = False, channel: Any = None) -> Any:
        """Declare the queue, its exchange and its bindings, or use what exists."""
        bound: Any = channel or self.channel
        declare = getattr(bound, "declare_task_queue", None)
        if declare is None:
            return super().declare(nowait=nowait, channel=channel)
        declare(self)
        return self.name


class SharedQueue(TaskQueue):
    """A queue that every service declares, so one service cannot change its arguments.

    With `task_queue_max_priority` Celery adds `x-max-priority` to the arguments of each
    queue in place.
    """

    @property
    def queue_arguments(self) -> dict[str, Any] | None:
        """A copy of the arguments."""
        return None if self._arguments is None else dict(self._arguments)

    @queue_arguments.setter
    def queue_arguments(self, arguments: dict[str, Any] | None) -> None:
        self._arguments = arguments
