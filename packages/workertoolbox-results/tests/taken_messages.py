"""Messages that an app has published into the queue `export`."""

from __future__ import annotations

from typing import Any

from celery import Celery


def take(app: Celery) -> list[Any]:
    """Take all messages off the queue, and return them in order."""
    found = []
    with app.connection_for_read() as connection:
        queue = app.amqp.queues["export"](connection.default_channel)
        queue.declare()
        while (each := queue.get(no_ack=True)) is not None:
            found.append(each)
    return found
