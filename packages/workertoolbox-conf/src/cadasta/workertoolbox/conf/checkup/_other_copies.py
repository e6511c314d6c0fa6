"""Find other queues that get copies of tasks, such as a monitor queue before a rename.

Redis and the file system keep a table of bindings, so every such queue is found. AMQP
and SQS cannot list bindings: there, only a queue with the default name is found. SQL
databases are not searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import AccessRefused, NotFound, ResourceLocked

from cadasta.workertoolbox.conf._brokers.connection import broker_errors
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, ok, warning
from cadasta.workertoolbox.routing import EXCHANGE, MONITOR_QUEUE

#: Wildcards of topic exchanges. Work queues are bound without them.
_WILDCARDS = frozenset("#*")


@dataclass(frozen=True)
class _CopyQueue:
    """A queue beside the monitor queue that gets copies of tasks, or did.

    Attributes:
        size: The number of its messages.
        where: How it was found.
    """

    name: str
    size: int
    where: str


def other_copies(context: CheckContext) -> Iterator[Finding]:
    """Name the queues that get copies of tasks and are not the monitor queue."""
    match context.kind:
        case "amqp":
            queues = list(_on_rabbitmq(context))
        case "redis" | "filesystem":
            queues = list(_in_binding_table(context))
        case "sqs":
            queues = list(_on_sqs(context))
        case _:
            return
    if not queues:
        yield ok("other copies", "no other queue with copies of tasks was found")
    for queue in queues:
        monitor = context.monitor_queue.name
        yield warning(
            "other copies",
            f"{queue.name!r} {queue.where}, holds {queue.size} "
            f"message{'' if queue.size == 1 else 's'}, and is not the monitor queue, "
            f"{monitor!r}",
            f"if {monitor!r} was {queue.name!r} before: start a monitor with "
            f"PLATFORM_QUEUE_NAME={queue.name!r} until the queue is empty and no "
            f"service uses that name, then run `celery -A … tasks leave --queue "
            f"{queue.name}`",
        )


def _on_rabbitmq(context: CheckContext) -> Iterator[_CopyQueue]:
    if not _has_former_name(context):
        return
    try:
        with context.open_channel() as channel:
            queue = channel.queue_declare(MONITOR_QUEUE, passive=True)
    except (NotFound, AccessRefused, ResourceLocked):
        return
    if not queue.consumer_count:
        where = "exists, has no consumer"
        yield _CopyQueue(MONITOR_QUEUE, queue.message_count, where)


def _in_binding_table(context: CheckContext) -> Iterator[_CopyQueue]:
    channel: Any = context.channel
    bound = {
        (queue, key)
        for key, _, queue in channel.get_table(EXCHANGE)
        if _WILDCARDS & set(key) and queue != context.monitor_queue.name
    }
    for name, key in sorted(bound):
        where = f"is bound to {EXCHANGE!r} by {key!r}"
        yield _CopyQueue(name, channel._size(name), where)


def _on_sqs(context: CheckContext) -> Iterator[_CopyQueue]:
    from kombu.transport.SQS.exceptions import (
        DoesNotExistQueueException,
        UndefinedQueueException,
    )

    if not _has_former_name(context):
        return
    try:
        # Not the size at once: that would create the queue.
        context.channel._resolve_queue_url(MONITOR_QUEUE)
        size = context.channel._size(MONITOR_QUEUE)
    except (DoesNotExistQueueException, UndefinedQueueException):
        return
    except broker_errors(context.broker):
        return  # This service has no rights to that queue.
    if size:
        yield _CopyQueue(MONITOR_QUEUE, size, "exists")


def _has_former_name(context: CheckContext) -> bool:
    """Return whether the default name is that of none of this service's queues."""
    return MONITOR_QUEUE not in {queue.name for queue in context.queues}
