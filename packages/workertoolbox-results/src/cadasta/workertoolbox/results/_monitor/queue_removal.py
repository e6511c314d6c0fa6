"""Deletion of the monitor queue with its bindings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amqp.exceptions import NotFound
from celery import Celery
from kombu import Queue
from kombu.exceptions import ChannelError

from cadasta.workertoolbox.results._errors import BrokerUnavailable
from cadasta.workertoolbox.results._monitor.broker import open_channel


@dataclass(frozen=True, slots=True)
class QueueUse:
    """The copies in a queue, and who reads them.

    Attributes:
        unread: The number of messages; on SQS an estimate.
        consumers: The number of consumers, where the broker knows it: on RabbitMQ.
    """

    unread: int
    consumers: int


def read_use(queue: Queue, channel: Any) -> QueueUse | None:
    """Return how a queue is used, or None if it does not exist.

    On Redis an empty queue does not exist, but its bindings may.
    """
    with channel.connection.client.clone() as connection:
        try:
            # On a channel of its own: RabbitMQ closes it if the queue is missing.
            found = connection.default_channel.queue_declare(queue.name, passive=True)
        except NotFound:
            return None
        except ChannelError:
            return QueueUse(0, 0)
    return QueueUse(found.message_count, found.consumer_count)


def find_unread_on_broker(app: Celery, queue: Queue) -> str | None:
    """Look for messages in a queue, on a connection of its own.

    Returns:
        The URL of the broker, with the password masked, or None if the queue has no
        messages.

    Raises:
        BrokerUnavailable: The broker cannot be reached, or refuses a request.
    """
    with open_channel(app) as channel:
        use = read_use(queue, channel)
        url = str(channel.connection.client.as_uri())
    return url if use is not None and use.unread else None


def check_removable(queue: Queue, channel: Any) -> None:
    """Check that a queue may be deleted.

    Raises:
        BrokerUnavailable: SQS has predefined queues, which cannot be deleted.
    """
    if getattr(channel, "predefined_queues", None):
        raise BrokerUnavailable(
            f"queue {queue.name!r} is one of predefined_queues, which are managed "
            "outside the service; delete it where it was created"
        )


def unbind(queue: Queue, channel: Any) -> None:
    """Remove the bindings of a queue, so that no service sends it more copies."""
    bound: Any = queue(channel)
    bound.unbind()


def remove(queue: Queue, channel: Any) -> None:
    """Delete a queue with its bindings."""
    queue(channel).delete()
