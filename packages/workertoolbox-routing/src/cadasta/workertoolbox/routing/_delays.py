"""RabbitMQ's native delays, which Celery uses for ETA tasks on quorum queues."""

from __future__ import annotations

import re
from typing import Any

from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    MAX_LEVEL,
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

from cadasta.workertoolbox.routing._declaration import Declaration

#: The exchange that Celery publishes an ETA task to.
DELAYED_EXCHANGE = level_name(MAX_LEVEL)

#: The exchange that delivers the task to its queue when it is due.
DELIVERY_EXCHANGE = CELERY_DELAYED_DELIVERY_EXCHANGE

#: The prefix that a delay adds to a routing key: a countdown in 28 bits.
_DELAY = re.compile(r"^(?:[01]\.){28}")


def without_delay(routing_key: str) -> str:
    """Return a routing key without the delay that RabbitMQ's native delays add."""
    return _DELAY.sub("", routing_key)


class Delays(Declaration):
    """The exchanges and queues of native delays, as Celery's workers declare them."""

    name = "workertoolbox-delays"

    def declare(self, channel: Any = None) -> None:
        """Declare the delays, and bind every work queue to the delivery exchange."""
        bound: Any = channel or self.channel
        connection = bound.connection.client
        declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        for queue in self.queues[:-1]:
            bind_queue_to_native_delayed_delivery_exchange(connection, queue)
