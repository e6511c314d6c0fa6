"""The exchange, the queues, and what binds them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue, binding
from kombu.abstract import MaybeChannelBound
from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    MAX_LEVEL,
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

#: The topic exchange that every task is published to.
EXCHANGE = "task_exchange"

#: Where a task goes whose name starts with no known queue: Celery's own default.
DEFAULT_QUEUE = "celery"

#: The task-monitor queue unless `PLATFORM_QUEUE_NAME` says otherwise.
MONITOR = "platform.fifo"

#: Where Celery publishes a task with an ETA when the queues are quorum queues.
DELAYED_EXCHANGE = level_name(MAX_LEVEL)

#: What such a delay puts before a routing key: a countdown in 28 bits.
_DELAY = re.compile(r"^(?:[01]\.){28}")

#: What makes the monitor's a quick queue on RabbitMQ from 3.10 on, whose memory does
#: not grow with its length. Version 1 writes each message to a journal of the queue:
#: with it, a confirmed publish takes 1.07 times that to one queue, with this 1.00.
_QUICK = {"x-queue-version": 2}

#: Where such a task comes from when it is due.
DELIVERY_EXCHANGE = CELERY_DELAYED_DELIVERY_EXCHANGE


def topology(
    queues: Iterable[str], *, monitor: str, queue_type: str | None
) -> tuple[Queue, ...]:
    """Return every queue of a fleet, bound to the task exchange.

    Work queues are bound by their literal names, because kombu's virtual transports
    read wildcards otherwise than AMQP does; the monitor queue, last, by `#`.

    Args:
        queue_type: RabbitMQ's `x-queue-type`, or None for its default.
    """
    exchange = Exchange(EXCHANGE, type="topic")
    arguments = {"x-queue-type": queue_type} if queue_type else {}
    names = dict.fromkeys([DEFAULT_QUEUE, *queues])
    work = [
        Queue(name, exchange, routing_key=name, queue_arguments=arguments)
        for name in names
    ]
    # Celery sends a task with an ETA through RabbitMQ's delays if any queue is a
    # quorum queue; the monitor is to see it when it is scheduled, not when it is due.
    # kombu forgets the exchange of a queue that has bindings: both are given as such.
    delayed = [
        binding(exchange, "#"),
        binding(Exchange(DELAYED_EXCHANGE, type="topic"), "#"),
    ]
    copies = Queue(
        monitor,
        exchange,
        routing_key="#",
        queue_arguments=arguments if queue_type == "quorum" else _QUICK | arguments,
        bindings=delayed if queue_type == "quorum" else [],
    )
    return (*work, copies)


def without_delay(routing_key: str) -> str:
    """Return the key that a task was published by, without a delay of RabbitMQ's."""
    return _DELAY.sub("", routing_key)


class Topology(MaybeChannelBound):
    """Every queue of a fleet as one thing to declare, once for each connection."""

    name = "workertoolbox"
    can_cache_declaration = True

    def __init__(self, queues: tuple[Queue, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.queues = queues

    def declare(self, channel: Any = None) -> None:
        """Declare the exchange, the queues and their bindings."""
        bound: Any = channel or self.channel
        *work, monitor = self.queues
        for queue in work:
            queue(bound).declare()
        try:
            monitor(bound).declare()
        except Exception:
            if not hasattr(bound, "bind_copies"):
                raise
            # Where the client makes the copies, each is tried, and its failure told.
            bound.bind_copies(monitor)

    def __copy__(self) -> Topology:
        return type(self)(self.queues)

    def __reduce__(self) -> Any:
        return type(self), (self.queues,)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.queues == self.queues

    def __hash__(self) -> int:
        return hash((type(self), tuple(queue.name for queue in self.queues)))


class Delays(Topology):
    """RabbitMQ's delays as Celery's workers declare them, for a producer alone."""

    name = "workertoolbox-delays"

    def declare(self, channel: Any = None) -> None:
        """Declare the delays, and bind every work queue to their end."""
        bound: Any = channel or self.channel
        connection = bound.connection.client
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        for queue in self.queues[:-1]:
            bind_queue_to_native_delayed_delivery_exchange(connection, queue)
