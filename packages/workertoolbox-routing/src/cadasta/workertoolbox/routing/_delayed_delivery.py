"""The step in which a worker on quorum queues declares RabbitMQ's native delays."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import delayed_delivery
from kombu.common import Broadcast

from cadasta.workertoolbox.routing._delays import Delays
from cadasta.workertoolbox.routing._topology import WorkQueues


class DelayedDelivery(delayed_delivery.DelayedDelivery):
    """Celery's step, which declares the queues before it binds them.

    Celery binds every queue of the app, but with `-Q` a worker declares only some of
    them, so the first worker of a new broker would log an error.
    """

    def _setup_delayed_delivery(self, c: Any, broker_url: str) -> None:
        monitor = c.app.conf.PLATFORM_QUEUE_NAME
        queues = [
            queue
            for name, queue in c.app.amqp.queues.items()
            if name != monitor and not isinstance(queue, Broadcast)
        ]
        queues.append(c.app.amqp.queues[monitor])
        queue_type = c.app.conf.broker_native_delayed_delivery_queue_type
        with c.app.connection_for_write(url=broker_url) as connection:
            channel = connection.default_channel
            WorkQueues(tuple(queues)).declare(channel)
            Delays(tuple(queues), None, queue_type).declare(channel)
