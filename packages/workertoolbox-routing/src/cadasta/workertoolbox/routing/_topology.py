"""The task exchange, the queues of a configuration, and their bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue, binding

from cadasta.workertoolbox.routing._declaration import Declaration
from cadasta.workertoolbox.routing._delays import DELAYED_EXCHANGE

#: The topic exchange that every task is published to.
EXCHANGE = "task_exchange"

#: Celery's own default queue, for tasks whose names do not start with that of a queue.
DEFAULT_QUEUE = "celery"

#: The task-monitor queue unless `PLATFORM_QUEUE_NAME` names another.
MONITOR_QUEUE = "platform.fifo"

#: Version 2 of classic queues, for the monitor queue, on RabbitMQ from 3.10: the memory
#: of such a queue does not grow with its length. Version 1 also writes each message to
#: a journal of the queue. A confirmed publish to a work queue and the monitor queue
#: takes 1.07 times as long as one to the work queue alone with version 1, and 1.00
#: times with version 2.
_CLASSIC_VERSION_2 = {"x-queue-version": 2}


def build_queues(
    names: Iterable[str], *, monitor: str, queue_type: str | None
) -> tuple[Queue, ...]:
    """Return every queue of a configuration, bound to the task exchange.

    Work queues are bound by their literal names, because kombu's virtual transports
    match wildcards differently from AMQP. The monitor queue comes last and is bound
    by `#`.

    Args:
        names: The work queues. The default queue is added.
        monitor: The task-monitor queue.
        queue_type: RabbitMQ's `x-queue-type`, or None for its default.
    """
    exchange = Exchange(EXCHANGE, type="topic")
    arguments = {"x-queue-type": queue_type} if queue_type else {}
    work_queues = [
        Queue(name, exchange, routing_key=name, queue_arguments=arguments)
        for name in dict.fromkeys([DEFAULT_QUEUE, *names])
    ]
    # If any queue is a quorum queue, Celery sends a task with an ETA through RabbitMQ's
    # delays. The second binding gives the monitor its copy when the task is scheduled,
    # not when it is due. kombu ignores the exchange of a queue that has `bindings`, so
    # the first one is repeated there.
    with_delayed = [
        binding(exchange, "#"),
        binding(Exchange(DELAYED_EXCHANGE, type="topic"), "#"),
    ]
    is_quorum = queue_type == "quorum"
    monitor_queue = Queue(
        monitor,
        exchange,
        routing_key="#",
        queue_arguments=arguments if is_quorum else _CLASSIC_VERSION_2 | arguments,
        bindings=with_delayed if is_quorum else [],
    )
    return (*work_queues, monitor_queue)


class Topology(Declaration):
    """The exchange, and every queue of a configuration with its bindings."""

    name = "workertoolbox"

    def declare(self, channel: Any = None) -> None:
        """Declare the exchange, the queues and their bindings."""
        bound: Any = channel or self.channel
        *work_queues, monitor_queue = self.queues
        for queue in work_queues:
            queue(bound).declare()
        try:
            monitor_queue(bound).declare()
        except Exception:
            if not hasattr(bound, "bind_monitor_queue"):
                raise
            # The client makes the copies here, so the task can be sent without this
            # queue. Each copy is tried, and its failure is logged or raised.
            bound.bind_monitor_queue(monitor_queue)
