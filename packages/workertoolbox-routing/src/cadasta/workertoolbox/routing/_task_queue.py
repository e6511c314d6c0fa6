"""Queues whose arguments are wishes: a queue that exists otherwise is used as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kombu import Exchange, Queue, binding

#: The topic exchange that every queue is bound to by its name.
EXCHANGE = "task_exchange"


class TaskQueue(Queue):
    """A queue of tasks.

    On RabbitMQ it may have been declared with other arguments, by another team, by an
    older release or by an operator, or this service may lack the permission to declare
    it. It is then used as it is.
    """

    exchange: Exchange | None  # type: ignore[assignment]

    def __init__(
        self,
        name: str = "",
        exchange: Exchange | None = None,
        routing_key: str = "",
        channel: Any = None,
        bindings: Sequence[binding] | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a queue that is bound to its exchange, and by each of `bindings`."""
        super().__init__(name, exchange, routing_key, None, bindings, **kwargs)
        # kombu ignores the exchange of a queue with bindings. Celery then binds it to
        # the default exchange.
        self.exchange = exchange
        self.maybe_bind(channel)

    def declare(self, nowait: bool = False, channel: Any = None) -> Any:
        """Declare the queue, its exchanges and its bindings, or use what exists."""
        bound: Any = channel or self.channel
        declare = getattr(bound, "declare_task_queue", None)
        if declare is None:
            return super().declare(nowait=nowait, channel=channel)
        declare(self)
        return self.name

    def delete(
        self, if_unused: bool = False, if_empty: bool = False, nowait: bool = False
    ) -> Any:
        """Delete the queue and its bindings."""
        self._declare_virtual_exchanges()
        if (bind := getattr(self.channel, "bind_declared", None)) is not None:
            # These channels only delete the bindings that they have made.
            bind(self)
        return super().delete(if_unused, if_empty, nowait)

    def unbind(self) -> None:
        """Remove the bindings, so that nothing more arrives by an exchange."""
        self._declare_virtual_exchanges()
        for each in bindings_of(self):
            self.unbind_from(each.exchange, each.routing_key, each.arguments)

    def _declare_virtual_exchanges(self) -> None:
        """Declare the exchanges where the client emulates them.

        These channels only know the types of exchanges that they have declared.
        """
        if hasattr(self.channel, "bind_declared"):
            for each in bindings_of(self):
                each.exchange(self.channel).declare()

    def __eq__(self, other: object) -> Any:
        """Return whether another queue is the same, bindings included.

        kombu ignores the bindings, so that configurations that publish to different
        exchanges were equal.
        """
        is_equal = super().__eq__(other)
        if is_equal is not True or not isinstance(other, TaskQueue):
            return is_equal
        return type(self) is type(other) and bindings_of(self) == bindings_of(other)

    __hash__ = Queue.__hash__


class OwnQueue(TaskQueue):
    """A queue that the user declares, which gets what routes and callers send to it."""


class PublishedQueue(OwnQueue):
    """A queue that the app only publishes to: its workers consume it if `-Q` says so.

    Another service may consume it, and workers drop tasks that they do not know.
    """


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


class MonitorQueue(SharedQueue):
    """The task-monitor queue, which is bound to each exchange that sends it copies."""


def task_exchange() -> Exchange:
    """Return the declaration of the task exchange."""
    return Exchange(EXCHANGE, type="topic")


class Binding(NamedTuple):
    """A binding of a queue to an exchange."""

    exchange: Exchange
    routing_key: str
    arguments: dict[str, Any] | None = None


def bindings_of(queue: Queue) -> list[Binding]:
    """Return every binding of a queue, that to its own exchange first."""
    others = [
        Binding(each.exchange, each.routing_key or "", each.arguments)
        for each in queue.bindings
        if each.exchange is not None
    ]
    others.sort(key=lambda each: (each.exchange.name, each.routing_key))
    if queue.exchange is None or not queue.exchange.name:
        return others
    arguments = queue.binding_arguments
    return [Binding(queue.exchange, queue.routing_key, arguments), *others]


def dead_letter_exchange(queue: Queue) -> str | None:
    """Return the exchange to which a queue sends dead letters, or None."""
    arguments: Mapping[str, object] = queue.queue_arguments or {}
    exchange = arguments.get("x-dead-letter-exchange")
    return exchange if isinstance(exchange, str) else None


def by_name(queue: Queue) -> Queue:
    """Return a queue as it is bound to the task exchange: by its name."""
    if queue.exchange is not None and queue.exchange.name == EXCHANGE:
        return queue
    return TaskQueue(queue.name, task_exchange(), queue.name)
