"""What the checks share: an app, its broker and its database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu import Connection, Queue
from sqlalchemy import Engine

from cadasta.workertoolbox.conf._brokers.connection import with_timeouts


@dataclass
class CheckContext:
    """An app, and the connections that its check-up has opened.

    Attributes:
        app: An app that is configured with the toolbox.
        roles: What the database role is used for: `worker`, `monitor`, `reader`,
            `operator`, `purger` or `replayer`.
        processes: The number of worker processes on all hosts together; None to count
            the processes that are connected now.
        connection: The connection to the broker; None if it was not reached.
        engine: The engine of the database; None if it was not reached.
    """

    app: Celery
    roles: Sequence[str] = ("worker",)
    processes: int | None = None
    connection: Connection | None = field(default=None, init=False)
    engine: Engine | None = field(default=None, init=False)

    @property
    def queues(self) -> Sequence[Queue]:
        """All queues as Celery declares them; the monitor queue is the last."""
        # Celery completes their arguments, for example by `task_queue_max_priority`.
        queues = dict(self.app.amqp.queues)
        monitor = queues.pop(self.app.conf.PLATFORM_QUEUE_NAME)
        return (*queues.values(), monitor)

    @property
    def monitor_queue(self) -> Queue:
        """The queue that gets a copy of every task."""
        return self.queues[-1]

    @property
    def broker(self) -> Connection:
        """The connection that the check `broker` has made."""
        assert self.connection is not None
        return self.connection

    @property
    def database(self) -> Engine:
        """The engine that the check `database` has tried."""
        assert self.engine is not None
        return self.engine

    @property
    def kind(self) -> str:
        """The kind of the broker in kombu: `amqp`, `redis`, `sqs`, `filesystem`, …"""
        return str(self.broker.transport.driver_type)

    @property
    def channel(self) -> Any:
        """The shared channel, for brokers whose exchanges exist in the client only."""
        return self.broker.default_channel

    @contextmanager
    def open_channel(self) -> Iterator[Any]:
        """Yield a new channel: RabbitMQ closes a channel when it refuses a request."""
        with self.broker.channel() as channel:
            yield channel

    def close(self) -> None:
        """Close the connections. Errors are ignored: they may be broken already."""
        with suppress(Exception):
            if self.connection is not None:
                self.connection.release()
        with suppress(Exception):
            if self.engine is not None:
                self.engine.dispose()


def prepare(connection: Connection) -> Connection:
    """Set timeouts for a connection, and ask RabbitMQ to confirm messages."""
    connection.transport_options = {
        **with_timeouts(connection),
        # Only then does RabbitMQ report a message that no queue has received.
        "confirm_publish": True,
    }
    return connection
