"""From the task-monitor queue into the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from celery import Celery
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError as BrokerError
from kombu.message import Message
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._batch import Record, write_batch
from cadasta.workertoolbox.results._engine import database_url, is_outage, open_engine
from cadasta.workertoolbox.results._errors import (
    BrokerUnavailable,
    MonitorQueueUnknown,
)
from cadasta.workertoolbox.results._message import Unreadable, keep_unread, read_task
from cadasta.workertoolbox.results._schema import check_schema

_logger = logging.getLogger(__name__)

#: Seconds to wait for a broker that does not answer when the monitor starts.
CONNECT_TIMEOUT_S = 10

#: Longest time in seconds between two looks whether to stop.
TICK_S = 1.0

#: Seconds between two tries during an outage.
RETRY_S = 1.0


class Monitor:
    """Consume task messages, write them in batches, and acknowledge what is committed.

    A message is acknowledged after the commit of the batch that holds it. What cannot
    be read goes to the quarantine table, with the reason. While broker or database is
    away, messages stay where they are.

    Args:
        app: An app whose queues and result backend the toolbox has set up.
        batch_size: Most messages in a batch.
        batch_wait_s: Longest time in seconds that a message waits for others.

    Raises:
        BrokerUnavailable: On starting; later outages are waited for.
        DatabaseUnavailable: The same.
        InvalidURL: The result backend is no SQL database.
        MonitorQueueUnknown: The app declares no monitor queue.
        SchemaOutdated: The tables are missing or too old.
    """

    def __init__(
        self, app: Celery, *, batch_size: int = 500, batch_wait_s: float = 0.2
    ) -> None:
        self._app = app
        self._queue = monitor_queue(app)
        self._engine = open_engine(database_url(app.conf.result_backend), pool_size=1)
        self._batch_size = batch_size
        self._batch_wait_s = batch_wait_s
        self._stopping = threading.Event()
        self._waiting: list[Message] = []
        self._waiting_since = 0.0

    def stop(self) -> None:
        """Have `run` write what it holds, and return. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop` is called."""
        try:
            check_schema(self._engine)
            with self._connect(once=True) as connection:
                _logger.info(
                    "copying tasks from queue %r of %s to %s",
                    self._queue.name,
                    connection.as_uri(),
                    self._engine.url.render_as_string(hide_password=True),
                )
            while not self._stopping.is_set():
                self._consume_until_cut()
        finally:
            self._engine.dispose()

    def _consume_until_cut(self) -> None:
        with self._connect() as connection:
            cuts: tuple[type[BaseException], ...] = (
                *connection.recoverable_connection_errors,
                *connection.recoverable_channel_errors,
            )
            try:
                self._consume(connection)
            except cuts as error:
                # Not acknowledged, so the broker delivers them again.
                self._waiting.clear()
                if not self._stopping.is_set():
                    _logger.warning("connection to the broker lost: %r", error)

    def _connect(self, *, once: bool = False) -> Connection:
        """Return a connection to the broker, waiting for it unless `once`."""
        connection: Connection = self._app.connection_for_read(
            heartbeat=0, connect_timeout=CONNECT_TIMEOUT_S
        )
        absent: tuple[type[BaseException], ...] = (
            BrokerError,
            OSError,
            *connection.recoverable_connection_errors,
        )
        while True:
            try:
                connection.connect()
                return connection
            except absent as error:
                unavailable = BrokerUnavailable(
                    f"broker {connection.as_uri()} cannot be reached: {error}; "
                    "check broker_url, and that the server runs"
                )
                if once or self._stopping.wait(RETRY_S):
                    raise unavailable from error
                _logger.warning("%s", unavailable)

    def _consume(self, connection: Connection) -> None:
        # SQS hands out at most ten messages of a FIFO queue, and no more before
        # they are deleted: waiting for others would be in vain.
        one_drain = connection.transport.driver_type == "sqs"
        wait_s = 0.0 if one_drain else self._batch_wait_s
        channel = connection.default_channel
        consumer = Consumer(
            channel,
            [self._queue],
            on_message=self._gather,
            prefetch_count=2 * self._batch_size,
        )
        with consumer:
            while not self._stopping.is_set():
                self._drain(connection, self._time_left(wait_s))
                if self._is_due(wait_s):
                    self._flush()
            consumer.cancel()
            self._flush()

    def _drain(self, connection: Connection, timeout_s: float) -> None:
        try:
            connection.drain_events(timeout=timeout_s)
        except TimeoutError:
            pass

    def _gather(self, message: Message) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append(message)

    def _time_left(self, wait_s: float) -> float:
        if not self._waiting:
            return TICK_S
        return max(0.001, self._waiting_since + wait_s - time.monotonic())

    def _is_due(self, wait_s: float) -> bool:
        full = len(self._waiting) >= self._batch_size
        return full or (
            bool(self._waiting) and time.monotonic() - self._waiting_since >= wait_s
        )

    def _flush(self) -> None:
        messages, self._waiting = self._waiting, []
        if messages and self._write([_read(message) for message in messages]):
            for message in messages:
                message.ack()

    def _write(self, records: Sequence[Record]) -> bool:
        """Commit records; return False if an outage lasts until the monitor stops."""
        while True:
            try:
                with self._engine.begin() as connection:
                    write_batch(connection, records)
                return True
            except DBAPIError as error:
                if not is_outage(error):
                    raise
                _logger.warning("database away, trying again: %s", error.orig)
            if self._stopping.wait(RETRY_S):
                return False


def monitor_queue(app: Celery) -> Queue:
    """Return the queue that gets a copy of every task.

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


def _read(message: Message) -> Record:
    seen_at = datetime.now(UTC)
    try:
        return read_task(message, seen_at=seen_at)
    except Unreadable as error:
        _logger.warning("message put into quarantine: %s", error)
        return keep_unread(message, reason=str(error), seen_at=seen_at)
