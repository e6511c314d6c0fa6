"""Queues of a fleet that exists, given as `Queue` objects of kombu."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from celery.utils.nodenames import WORKER_DIRECT_EXCHANGE
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

from cadasta.workertoolbox.routing._errors import InvalidQueues
from cadasta.workertoolbox.routing._task_queue import (
    EXCHANGE,
    MonitorQueue,
    OwnQueue,
    PublishedQueue,
    TaskQueue,
    bindings_of,
    dead_letter_exchange,
    task_exchange,
)

#: Types of exchanges whose tasks can be copied, because the monitor queue can be bound
#: to get each of them.
_COPIED_TYPES = ("direct", "topic", "fanout")

#: Type of the exchanges of RabbitMQ's plugin for delayed messages. Celery and RabbitMQ
#: have delays of their own.
_DELAYED_TYPE = "x-delayed-message"


def own_queue(queue: Queue, *, exchange: Exchange | None, routing_key: str) -> OwnQueue:
    """Return a copy of a user's queue that is bound to the task exchange too.

    Args:
        queue: The user's queue.
        exchange: The exchange of a queue that names none; None for the task exchange.
        routing_key: The key of a queue that names none.

    Raises:
        InvalidQueues: Tasks of this queue would be lost or copied several times.
    """
    _check(queue)
    fields = queue.as_dict()
    own = queue.exchange if queue.exchange and queue.exchange.name else exchange
    bindings = list(queue.bindings)
    if own is None or own.name == EXCHANGE:
        own, key = task_exchange(), queue.name
    else:
        key = queue.routing_key or routing_key
        bindings.append(binding(task_exchange(), queue.name))
    fields.update(exchange=own, routing_key=key, bindings=bindings)
    fields["queue_arguments"] = dict(queue.queue_arguments or {})
    # The queue of one worker, which Celery lets this worker consume.
    is_direct = own.name == WORKER_DIRECT_EXCHANGE.name
    is_published = isinstance(queue, PublishedQueue) or is_direct
    return (PublishedQueue if is_published else OwnQueue)(**fields)


def monitor_queue(
    queue: Queue, arguments: Mapping[str, Any], bindings: Iterable[binding]
) -> MonitorQueue:
    """Return the task-monitor queue that a user describes, with its bindings.

    Args:
        queue: The user's queue.
        arguments: Its arguments, complete.
        bindings: Its bindings beside that to the task exchange.

    Raises:
        InvalidQueues: Copies would be lost.
    """
    _refuse_flags(queue, "no_declare", "exclusive", "auto_delete")
    if any(each.exchange.name != EXCHANGE for each in bindings_of(queue)):
        raise InvalidQueues(
            f"the monitor queue {queue.name!r} has an exchange, but the toolbox binds "
            f"it to those that tasks are published to; write Queue({queue.name!r})"
        )
    fields = queue.as_dict() | {
        "exchange": task_exchange(),
        "routing_key": "#",
        "queue_arguments": dict(arguments),
        "bindings": list(bindings),
    }
    return MonitorQueue(**fields)


def copied_bindings(queues: Iterable[TaskQueue]) -> list[binding]:
    """Return the bindings with which the monitor queue gets what is sent to exchanges.

    An exchange that sends the dead letters of others to one queue is left out: they are
    not new tasks, and a task for this queue can be sent to it by its name.

    Args:
        queues: The work queues.
    """
    queues = list(queues)
    receivers = Counter(
        name
        for queue in queues
        for name in {each.exchange.name for each in bindings_of(queue)}
    )
    dead = {
        name
        for queue in queues
        if (name := dead_letter_exchange(queue)) and receivers[name] == 1
    }
    copied: dict[tuple[str, str], binding] = {}
    for queue in queues:
        for each in bindings_of(queue):
            exchange = each.exchange
            if exchange.name in {EXCHANGE, *dead} or exchange.type not in _COPIED_TYPES:
                continue
            keys = {"topic": "#", "fanout": ""}
            key = keys.get(exchange.type, each.routing_key)
            copied[exchange.name, key] = binding(exchange, key)
    return list(copied.values())


def _check(queue: Queue) -> None:
    name = queue.name
    if isinstance(queue, Broadcast):
        raise InvalidQueues(
            f"{queue.exchange.name!r} is a Broadcast, whose queue has another name in "
            "each process; use a Queue with a fanout exchange for each service instead"
        )
    _refuse_flags(queue, "no_declare", "exclusive")
    if dead_letter_exchange(queue) == EXCHANGE:
        raise InvalidQueues(
            f"queue {name!r} has the dead-letter exchange {EXCHANGE!r}, which would "
            "send the monitor a second copy of each dead letter; name another one, or "
            "'' and the queue as x-dead-letter-routing-key"
        )
    for each in bindings_of(queue):
        if each.exchange.type == _DELAYED_TYPE:
            raise InvalidQueues(
                f"queue {name!r} is bound to {each.exchange.name!r} of type "
                f"{_DELAYED_TYPE!r}, which calls each message unroutable, so that a "
                "lost task looks like a delayed one; leave the exchange out, and delay "
                "tasks by countdown=… or eta=…"
            )
        if each.exchange.name == EXCHANGE and each.routing_key not in ("", name):
            raise InvalidQueues(
                f"queue {name!r} is bound to {EXCHANGE!r} by {each.routing_key!r}, but "
                f"this exchange is the toolbox's own; write Queue({name!r})"
            )


def _refuse_flags(queue: Queue, *flags: str) -> None:
    for flag in flags:
        if getattr(queue, flag):
            raise InvalidQueues(
                f"queue {queue.name!r} has {flag}=True, but every publisher declares "
                "and binds it, and its messages must not be lost; leave it out"
            )
