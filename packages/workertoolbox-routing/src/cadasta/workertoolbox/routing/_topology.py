"""The exchange, the queues, and what binds them."""

from __future__ import annotations

from collections.abc import Iterable

from kombu import Exchange, Queue

#: The topic exchange that every task is published to.
EXCHANGE = "task_exchange"

#: Where a task goes whose name starts with no known queue: Celery's own default.
DEFAULT_QUEUE = "celery"

#: The task-monitor queue unless `PLATFORM_QUEUE_NAME` says otherwise.
MONITOR = "platform.fifo"


def topology(queues: Iterable[str], *, monitor: str) -> tuple[Queue, ...]:
    """Return every queue of a fleet, bound to the task exchange.

    Work queues are bound by their literal names, because kombu's virtual transports
    read wildcards otherwise than AMQP does; the monitor queue, last, by `#`.
    """
    exchange = Exchange(EXCHANGE, type="topic")
    names = dict.fromkeys([DEFAULT_QUEUE, *queues])
    work = [Queue(name, exchange, routing_key=name) for name in names]
    return (*work, Queue(monitor, exchange, routing_key="#"))
