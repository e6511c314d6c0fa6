"""Declare a queue on RabbitMQ, or use it as it is.

RabbitMQ refuses a declaration whose arguments differ from those of the queue that
exists, arguments that the type of the queue does not have, and every declaration of a
user who may not configure. It closes the channel each time, so declarations have a
channel of their own, which py-amqp opens again.
"""

from __future__ import annotations

import re
from typing import Any

from amqp.exceptions import (
    AccessRefused,
    AMQPError,
    ChannelError,
    NotFound,
    PreconditionFailed,
)
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing._task_queue import (
    EXCHANGE,
    MonitorQueue,
    bindings_of,
)

#: The argument that RabbitMQ names in a refusal.
_ARGUMENT = re.compile(r"\barg(?:ument)? '([^']+)'")

#: RabbitMQ's refusal to take a quorum queue for a classic queue.
_IS_QUORUM = re.compile(r"'x-queue-type'.*current is (?:the value )?'quorum'")

#: RabbitMQ's refusal of the type that a virtual host gives to queues without one.
_DEFAULT_IS_QUORUM = re.compile(r"'x-queue-type'.*received (?:the value )?'quorum'")

#: Arguments that save memory or time, which no user has asked for.
_OPTIONAL = ("x-queue-version",)


def declare_queue(channel: Any, queue: Queue, *, strict: bool = False) -> list[str]:
    """Declare a queue with its exchange and bindings, or use what exists.

    Args:
        channel: A channel that may be closed and opened again.
        queue: A queue that is not bound to a channel.
        strict: Refuse a queue that exists with other arguments, unless these are
            optional or the defaults of the virtual host.

    Returns:
        What differs from the declaration, and what could not be checked.

    Raises:
        ChannelError: The queue does not exist and cannot be declared, belongs to
            another connection, or its exchange has another type. RabbitMQ's text names
            the queue and the argument. The monitor queue needs only the task exchange.
    """
    notes, bindings = [], []
    for each in bindings_of(queue):
        try:
            notes += _declare_exchange(channel, each.exchange)
            bindings.append(each)
        except ChannelError as error:
            if not isinstance(queue, MonitorQueue) or each.exchange.name == EXCHANGE:
                raise
            # Only tasks for this exchange fail, with the declaration of their queue.
            notes.append(f"queue {queue.name!r} gets no copies: {error}")
    notes += _declare_alone(channel, queue, strict=strict)
    for each in bindings:
        try:
            queue(channel).bind_to(each.exchange, each.routing_key, each.arguments)
        except AccessRefused as refusal:
            # A user who may not bind relies on the bindings that exist.
            notes.append(f"queue {queue.name!r} is used as it is bound: {refusal}")
    return notes


def _declare_exchange(channel: Any, exchange: Exchange) -> list[str]:
    try:
        exchange(channel).declare()
    except AccessRefused as refusal:
        try:
            exchange(channel).declare(passive=True)
        except NotFound:
            raise refusal from None
    except PreconditionFailed as refusal:
        if _argument(refusal) == "type":
            raise
        return [f"exchange {exchange.name!r} is used as the broker has it: {refusal}"]
    return []


def _declare_alone(channel: Any, queue: Queue, *, strict: bool) -> list[str]:
    """Declare a queue, without the arguments that the broker refuses."""
    notes: list[str] = []
    wished = queue(channel)
    while True:
        try:
            wished.queue_declare()
            return notes
        except AccessRefused:
            # The refusal to bind, which follows, is reported.
            if not _exists(channel, queue):
                raise
            return notes
        except PreconditionFailed as refusal:
            argument = _argument(refusal)
            arguments = dict(wished.queue_arguments or {})
            # The queue may be older than the default type of its virtual host.
            is_default = argument not in arguments and bool(
                _DEFAULT_IS_QUORUM.search(str(refusal))
            )
            if (is_default or not strict) and _exists(channel, queue):
                how = "used as the broker has it"
                return [*notes, f"queue {queue.name!r} is {how}: {refusal}"]
            if argument not in arguments or (strict and argument not in _OPTIONAL):
                raise
            notes.append(f"queue {queue.name!r} does without {argument!r}: {refusal}")
            del arguments[argument]
            wished.queue_arguments = arguments


def is_quorum_queue(channel: Any, queue: Queue) -> bool:
    """Return whether an existing queue is a quorum queue, whatever was declared.

    AMQP does not report the type of a queue, but RabbitMQ names it when it refuses
    another one. If other arguments differ too, it may name only these.
    """
    compared = queue(channel)
    classic = {"x-queue-type": "classic"}
    compared.queue_arguments = {**(queue.queue_arguments or {}), **classic}
    try:
        compared.queue_declare()
    except PreconditionFailed as refusal:
        return bool(_IS_QUORUM.search(str(refusal)))
    except AccessRefused:
        pass  # This user cannot find out.
    return False


def _exists(channel: Any, queue: Queue) -> bool:
    try:
        queue(channel).queue_declare(passive=True)
    except NotFound:
        return False
    return True


def _argument(refusal: AMQPError) -> str:
    """Return the argument that a refusal names, or an empty string."""
    match = _ARGUMENT.search(str(refusal))
    return match[1] if match else ""
