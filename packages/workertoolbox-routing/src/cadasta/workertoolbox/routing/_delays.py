"""RabbitMQ's native delays, which Celery uses for ETA tasks on quorum queues."""

from __future__ import annotations

import re
from typing import Any

from amqp.exceptions import AccessRefused, ChannelError, NotFound, PreconditionFailed
from kombu import Exchange
from kombu.common import maybe_declare
from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    MAX_LEVEL,
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

from cadasta.workertoolbox.routing._declaration import Declaration, warn_once
from cadasta.workertoolbox.routing._task_queue import by_name

#: The exchange that Celery publishes an ETA task to.
DELAYED_EXCHANGE = level_name(MAX_LEVEL)

#: The exchange that delivers the task to its queue when it is due.
DELIVERY_EXCHANGE = CELERY_DELAYED_DELIVERY_EXCHANGE

#: The types of queues in which tasks can wait.
_QUEUE_TYPES = ("quorum", "classic")

#: The prefix that a delay adds to a routing key: a countdown in 28 bits.
_DELAY = re.compile(r"^(?:[01]\.){28}")


def without_delay(routing_key: str) -> str:
    """Return a routing key without the delay that RabbitMQ's native delays add."""
    return _DELAY.sub("", routing_key)


class Delays(Declaration):
    """The exchanges and queues of native delays, as Celery's workers declare them.

    A task with an ETA is delivered by the name of its queue, through the task exchange.

    Args:
        queues: The queues of a configuration, the monitor queue last.
        work_queue: The name of the queue that the task goes to.
        queue_type: The type of the queues in which tasks wait.
    """

    name = "workertoolbox-delays"

    def declare_on(self, channel: Any) -> None:
        """Declare the delays, and bind every work queue to the delivery exchange."""
        work_queue, queue_type = self.values
        maybe_declare(DelayLevels((), queue_type), channel)
        connection = channel.connection.client
        for queue in self.queues[:-1]:
            try:
                named = by_name(queue)
                bind_queue_to_native_delayed_delivery_exchange(connection, named)
            except AccessRefused:
                # A user who may not bind relies on the bindings that exist.
                return
            except ChannelError as error:
                if queue.name == work_queue:
                    raise
                warn_once(f"queue {queue.name!r} is not bound to the delays: {error}")


class DelayLevels(Declaration):
    """The exchanges and queues of the delays, with a type that is a wish."""

    name = "workertoolbox-delay-levels"

    def declare_on(self, channel: Any) -> None:
        """Declare them, or use those that exist."""
        connection = channel.connection.client
        [wished] = self.values
        other = _QUEUE_TYPES[wished == _QUEUE_TYPES[0]]
        try:
            declare_native_delayed_delivery_exchanges_and_queues(connection, wished)
        except PreconditionFailed as error:
            declare_native_delayed_delivery_exchanges_and_queues(connection, other)
            warn_once(f"the delays are used as the broker has them: {error}")
        except AccessRefused as refusal:
            _check_exists(connection, refusal)


def _check_exists(connection: Any, refusal: AccessRefused) -> None:
    """Accept the delays as they are, if somebody else has declared them.

    Raises:
        AccessRefused: They do not exist, and this service may not declare them.
    """
    try:
        with connection.channel() as channel:
            for name in (DELAYED_EXCHANGE, DELIVERY_EXCHANGE):
                Exchange(name, type="topic", channel=channel).declare(passive=True)
    except NotFound:
        raise refusal from None
    warn_once(f"the delays are used as the broker has them: {refusal}")
