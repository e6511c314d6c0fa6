"""The monitor's connection to the broker, and the queue that it consumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError as KombuOperationalError

from cadasta.workertoolbox.results._errors import (
    BrokerUnavailable,
    MonitorQueueUnknown,
)

#: Seconds to wait for a broker that does not answer.
CONNECT_TIMEOUT_S = 10


def monitor_queue(app: Celery) -> Queue:
    """Return the queue that receives a copy of every task message.

    Raises:
        MonitorQueueUnknown: The app is not configured with the toolbox.
    """
    name = app.conf.get("PLATFORM_QUEUE_NAME")
    if name is None or name not in app.amqp.queues:
        raise MonitorQueueUnknown(
            f"app {app.main!r} has no task-monitor queue; configure it with "
            "app.config_from_object(Config(queues=[…]))"
        )
    queue: Queue = app.amqp.queues[name]
    return queue


def new_connection(app: Celery) -> Connection:
    """Return a connection to the app's broker, which is not yet opened.

    Raises:
        BrokerUnavailable: No transport of this name is installed.
    """
    try:
        connection: Connection = app.connection_for_read(
            heartbeat=0, connect_timeout=CONNECT_TIMEOUT_S
        )
        _ = connection.transport
    except (KeyError, ImportError) as error:
        raise BrokerUnavailable(
            "the transport of broker_url is unknown, or its client library is not "
            f"installed: {error}; check broker_url"
        ) from error
    return connection


@contextmanager
def open_channel(app: Celery) -> Iterator[Any]:
    """Yield a channel on a connection of its own.

    Raises:
        BrokerUnavailable: The broker cannot be reached, or refuses a request.
    """
    connection = new_connection(app)
    try:
        with connection:
            connection.connect()
            yield connection.default_channel
    except broker_errors(connection) as error:
        raise refused(connection, error) from error


def declare_on_broker(app: Celery, queue: Queue) -> str:
    """Declare a queue on a connection of its own.

    Returns:
        The URL of the broker, with the password masked.

    Raises:
        BrokerUnavailable: The broker cannot be reached, or refuses the declaration.
    """
    with open_channel(app) as channel:
        queue(channel).declare()
        return str(channel.connection.client.as_uri())


def is_permanent(connection: Connection, error: BaseException) -> bool:
    """Return whether a broker refuses this service for good.

    The transports of workertoolbox-routing know; with others every error is temporary.
    """
    check = getattr(_transport(connection), "is_permanent", None)
    return check is not None and bool(check(error))


def refused(connection: Connection, error: BaseException) -> BrokerUnavailable:
    """Return the error of a monitor whose broker cannot be used."""
    return BrokerUnavailable(
        f"broker {connection.as_uri()} cannot be used: {error}; check broker_url, and "
        "whether the server is running"
    )


def broker_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    """Return the exceptions that a broker's client raises, temporary or permanent."""
    return (
        OSError,
        KombuOperationalError,
        *connection.connection_errors,
        *connection.channel_errors,
        *getattr(_transport(connection), "refusals", ()),
    )


def _transport(connection: Any) -> Any:
    # The class: to make an object may need a file descriptor, and none may be left.
    return connection.get_transport_cls()
