"""What is looked at: an app, its broker and its database."""

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
        app: An app that the toolbox has configured.
        roles: What the database's role is used for: `worker`, `monitor`, `reader`.
        processes: How many processes of workers there will be, all hosts together;
            None to count who is connected now.
        connection: To the broker, once that was reached.
        engine: For the database, once that was reached.
    """

    app: Celery
    roles: Sequence[str] = ("worker",)
    processes: int | None = None
    connection: Connection | None = field(default=None, init=False)
    engine: Engine | None = field(default=None, init=False)

    @property
    def queues(self) -> Sequence[Queue]:
        """Every queue, the monitor's last."""
        return tuple(self.app.conf.task_queues)

    @property
    def monitor_queue(self) -> Queue:
        """The queue with a copy of every task."""
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
        """What kombu says of the broker: `amqp`, `redis`, `sqs`, `filesystem`, …"""
        return str(self.broker.transport.driver_type)

    @property
    def channel(self) -> Any:
        """The channel of a broker whose exchanges are in the client."""
        return self.broker.default_channel

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Yield a channel of its own: a broker closes it when it refuses something."""
        with self.broker.channel() as channel:
            yield channel

    def close(self) -> None:
        """Close what is open; what has broken is left as it is."""
        with suppress(Exception):
            if self.connection is not None:
                self.connection.release()
        with suppress(Exception):
            if self.engine is not None:
                self.engine.dispose()


def once(connection: Connection) -> Connection:
    """Return a connection that waits for a silent server for no longer than it must."""
    connection.transport_options = {
        **with_timeouts(connection),
        # RabbitMQ says only then whether a message found a queue.
        "confirm_publish": True,
    }
    return connection
