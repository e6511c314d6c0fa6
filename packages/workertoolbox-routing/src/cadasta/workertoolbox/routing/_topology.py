"""The queues of a configuration, and their declaration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue, binding
from kombu.common import maybe_declare

from cadasta.workertoolbox.routing._declaration import Declaration, warn_once
from cadasta.workertoolbox.routing._delays import DELAYED_EXCHANGE, Delays
from cadasta.workertoolbox.routing._own_queues import copied_bindings, monitor_queue
from cadasta.workertoolbox.routing._task_queue import (
    SharedQueue,
    TaskQueue,
    task_exchange,
)

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
    queues: Iterable[str | TaskQueue],
    *,
    default: str,
    monitor: str | Queue,
    queue_type: str | None,
    shared_queue_type: str | None,
) -> tuple[TaskQueue, ...]:
    """Return every queue of a configuration, with all its bindings.

    Each work queue is bound to the task exchange by its literal name, because kombu's
    virtual transports match wildcards differently from AMQP. The monitor queue comes
    last. It is bound to the task exchange by `#`, and to each other exchange that tasks
    may be published to.

    Args:
        queues: The work queues: names, and queues with exchanges of their own.
        default: The default queue, which is added unless it is among them.
        monitor: The task-monitor queue, or its name; its arguments win over ours.
        queue_type: RabbitMQ's `x-queue-type` of the queues given by name, or None for
            its default.
        shared_queue_type: The type of the default queue and the monitor queue, which
            every service declares.
    """
    given = {queue if isinstance(queue, str) else queue.name: queue for queue in queues}
    work_queues = []
    for name, queue in {default: default, **given}.items():
        if isinstance(queue, str):
            is_shared = name == default
            queue = (SharedQueue if is_shared else TaskQueue)(
                name,
                task_exchange(),
                name,
                queue_arguments=_type_argument(
                    shared_queue_type if is_shared else queue_type
                ),
            )
        work_queues.append(queue)
    bindings = copied_bindings(work_queues)
    given_monitor = monitor if isinstance(monitor, Queue) else Queue(monitor)
    arguments: dict[str, Any] = _type_argument(shared_queue_type)
    arguments |= given_monitor.queue_arguments or {}
    if arguments.get("x-queue-type", "classic") == "classic":
        arguments = _CLASSIC_VERSION_2 | arguments
    types = {(each.queue_arguments or {}).get("x-queue-type") for each in work_queues}
    if "quorum" in {*types, arguments.get("x-queue-type")}:
        # If any queue is a quorum queue, Celery sends a task with an ETA through
        # RabbitMQ's delays. This binding gives the monitor its copy when the task is
        # scheduled, not when it is due.
        bindings.append(binding(Exchange(DELAYED_EXCHANGE, type="topic"), "#"))
    return (*work_queues, monitor_queue(given_monitor, arguments, bindings))


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
            if not hasattr(channel, "bind_declared"):
                raise
            # The client makes the copies here, so the task can be sent without this
            # queue. Each copy is tried, and its failure is logged or raised.
            channel.bind_declared(monitor_queue)
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
    queue(channel).declare()
