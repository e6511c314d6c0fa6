"""What can be wrong with routing.

RoutingError
├── CopyFailed (RuntimeError)
├── FrozenSettings (AttributeError, TypeError)
├── InvalidQueues (ValueError)
├── InvalidSetting (ValueError)
├── NotJSON (ValueError)
├── PublishRefused (RuntimeError)
├── RemoteControlUnavailable (NotImplementedError)
├── UnknownQueue (LookupError)
├── Unroutable (LookupError)
└── UntrackedExchange (ValueError)
"""

from __future__ import annotations


class RoutingError(Exception):
    """The root of every error of this package."""


class CopyFailed(RoutingError, RuntimeError):
    """A task went out, but the copy for the monitor did not."""

    def __init__(self, queue: str, id: str, reason: str) -> None:
        # Only the arguments: Celery pickles errors and rebuilds them from `args`.
        super().__init__(queue, id, reason)
        self.queue = queue
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"task {self.id} went out, but its copy for queue {self.queue!r} did not: "
            f"{self.reason}; until it has a result the database will not know of it"
        )


class FrozenSettings(RoutingError, AttributeError, TypeError):
    """Settings, or a dictionary or list in them, were to be changed."""


class InvalidQueues(RoutingError, ValueError):
    """The list of queues, or a name in it, cannot be used."""


class InvalidSetting(RoutingError, ValueError):
    """A setting has a name or a value that cannot be used."""


class NotJSON(RoutingError, ValueError):
    """A task was to be published with another serializer than JSON."""

    def __init__(self, serializer: str, task: str) -> None:
        super().__init__(serializer, task)
        self.serializer = serializer
        self.task = task

    def __str__(self) -> str:
        return (
            f"task {self.task!r} is published with serializer={self.serializer!r}: the "
            "toolbox speaks JSON only, and neither monitor nor worker would read it; "
            "leave serializer out, at the task and at the caller"
        )


class PublishRefused(RoutingError, RuntimeError):
    """A broker refused a task for one of its queues, and does not say for which."""

    def __init__(self, routing_key: str) -> None:
        super().__init__(routing_key)
        self.routing_key = routing_key

    def __str__(self) -> str:
        return (
            f"the broker refused a task for routing key {self.routing_key!r}, or its "
            "copy: a queue is full, or cannot be written; the task may have gone out, "
            "so it is not sent again. Look at the lengths and policies of the queues"
        )


class RemoteControlUnavailable(RoutingError, NotImplementedError):
    """Remote control or events were asked of a broker that has none."""

    def __init__(self, queue: str) -> None:
        super().__init__(queue)
        self.queue = queue

    def __str__(self) -> str:
        return (
            f"queue {self.queue!r} is not made: SQS has no remote control and no "
            "events; ask the database instead (`celery … tasks list`)"
        )


class UnknownQueue(RoutingError, LookupError):
    """A task was sent to a queue that no configuration declares."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)
        self.name = name
        self.nearest = nearest

    def __str__(self) -> str:
        guess = f"did you mean {self.nearest!r}? " if self.nearest else ""
        return (
            f"queue {self.name!r} is not declared; {guess}Nobody would run the task: "
            "add it to queues=[…], or name a queue that is there"
        )


class Unroutable(RoutingError, LookupError):
    """The broker has no queue for a task."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        super().__init__(exchange, routing_key)
        self.exchange = exchange
        self.routing_key = routing_key

    def __str__(self) -> str:
        return (
            f"the broker has no queue bound to exchange {self.exchange!r} for routing "
            f"key {self.routing_key!r}, so the task is not sent; was the queue deleted "
            "there? A new connection declares it again"
        )


class UntrackedExchange(RoutingError, ValueError):
    """A task was to go to an exchange of which the monitor gets no copy."""

    def __init__(self, exchange: str, task: str) -> None:
        super().__init__(exchange, task)
        self.exchange = exchange
        self.task = task

    def __str__(self) -> str:
        return (
            f"task {self.task!r} is routed to exchange {self.exchange!r}, of which the "
            "monitor gets no copy; route it by queue, as in "
            f'task_routes={{"{self.task}": {{"queue": …}}}}'
        )
