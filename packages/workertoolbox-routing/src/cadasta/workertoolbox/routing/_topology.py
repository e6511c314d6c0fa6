"""The task exchange, the queues of a configuration, and their bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue, binding
from kombu.common import maybe_declare

from cadasta.workertoolbox.routing._declaration import Declaration, warn_once
from cadasta.workertoolbox.routing._delays import DELAYED_EXCHANGE, Delays
from cadasta.workertoolbox.routing._task_queue import SharedQueue, TaskQueue

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
    names: Iterable[str],
    *,
    monitor: str,
    queue_type: str | None,
    shared_queue_type: str | None,
) -> tuple[TaskQueue, ...]:
    """Return every queue of a configuration, bound to the task exchange.

    Work queues are bound by their literal names, because kombu's virtual transports
    match wildcards differently from AMQP. The monitor queue comes last and is bound
    by `#`.

    Args:
        names: The work queues. The default queue is added.
        monitor: The task-monitor queue.
        queue_type: RabbitMQ's `x-queue-type` of the service's own queues, or None for
            its default.
        shared_queue_type: The type of the default queue and the monitor queue, which
            every service declares.
    """
    exchange = Exchange(EXCHANGE, type="topic")
    work_queues = [
        (SharedQueue if name == DEFAULT_QUEUE else TaskQueue)(
            name,
            exchange,
            routing_key=name,
            queue_arguments=_type_argument(
                shared_queue_type if name == DEFAULT_QUEUE else queue_type
            ),
        )
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
    version = {} if shared_queue_type == "quorum" else _CLASSIC_VERSION_2
    monitor_queue = SharedQueue(
        monitor,
        exchange,
        routing_key="#",
        queue_arguments=version | _type_argument(shared_queue_type),
        bindings=with_delayed if "quorum" in (queue_type, shared_queue_type) else [],
    )
    return (*work_queues, monitor_queue)


def _type_argument(queue_type: str | None) -> dict[str, str]:
    return {"x-queue-type": queue_type} if queue_type else {}


class Topology(Declaration):
    """The exchange, and every queue of a configuration with its bindings.

    Args:
        queues: The queues, the monitor queue last.
        work_queue: The name of the queue that the task goes to.
        delay_queue_type: RabbitMQ's type of the queues in which ETA tasks wait.
    """

    name = "workertoolbox"

    def declare_on(self, channel: Any) -> None:
        """Declare the queue of the task and the monitor queue, then the others.

        One of the others that cannot be declared does not stop this task.
        """
        work_queue, _ = self.values
        *work_queues, monitor_queue = self.queues
        for queue in work_queues:
            if queue.name == work_queue:
                _declare(queue, channel)
        try:
            _declare(monitor_queue, channel)
        except Exception:
            if not hasattr(channel, "bind_monitor_queue"):
                raise
            # The client makes the copies here, so the task can be sent without this
            # queue. Each copy is tried, and its failure is logged or raised.
            channel.bind_monitor_queue(monitor_queue)
        maybe_declare(WorkQueues(tuple(work_queues)), channel)

    def delays(self) -> Delays:
        """Return the declaration of the delays for the same task."""
        return Delays(self.queues, *self.values)


class WorkQueues(Declaration):
    """The queues that a service may use later, and that other services may wait for."""

    name = "workertoolbox-work-queues"

    def declare_on(self, channel: Any) -> None:
        """Declare the queues as far as the broker allows it."""
        for queue in self.queues:
            try:
                _declare(queue, channel)
            except Exception as error:
                # Any error: the queue that a task needs is declared by itself. If the
                # connection is lost, publishing the task fails too, and is tried again.
                warn_once(f"queue {queue.name!r} cannot be declared: {error}")


def _declare(queue: Queue, channel: Any) -> None:
    if (bind := getattr(channel, "bind_task_queue", None)) is not None:
        bind(queue)
    else:
        queue(channel).declare()
