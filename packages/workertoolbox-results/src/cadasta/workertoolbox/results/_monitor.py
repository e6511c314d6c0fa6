"""From the task-monitor queue into the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError as BrokerError
from kombu.message import Message
from sqlalchemy.exc import DBAPIError, StatementError

from cadasta.workertoolbox.results._backoff import TICK_S, backoff, rest
from cadasta.workertoolbox.results._batch import Record, write_batch
from cadasta.workertoolbox.results._engine import database_url, is_outage, open_engine
from cadasta.workertoolbox.results._errors import (
    BrokerUnavailable,
    MonitorQueueUnknown,
)
from cadasta.workertoolbox.results._health import HealthFile
from cadasta.workertoolbox.results._message import (
    QuarantineRecord,
    Unreadable,
    keep_unread,
    read_task,
)
from cadasta.workertoolbox.results._meter import CommittedBatch, Meter
from cadasta.workertoolbox.results._queued import Sweep
from cadasta.workertoolbox.results._redaction import Redaction
from cadasta.workertoolbox.results._schema import check_schema
from cadasta.workertoolbox.results._size import max_argument_bytes

_logger = logging.getLogger(__name__)

#: Seconds to wait for a broker that does not answer when the monitor starts.
CONNECT_TIMEOUT_S = 10

#: Seconds between two lines in the log with what was written.
REPORT_S = 60.0


class Monitor:
    """Consume task messages, write them in batches, and acknowledge what is committed.

    A message is acknowledged after the commit of the batch that holds it. What cannot
    be read goes to the quarantine table, with the reason. While broker or database is
    away, messages stay where they are.

    Args:
        app: An app whose queues and result backend the toolbox has set up.
        batch_size: Most messages in a batch.
        batch_wait_s: Longest time in seconds that a message waits for others.
        report_s: Seconds between two lines in the log with rates and lag.
        health_file: What is touched every few seconds, except during an outage, and
            removed when `run` ends.
        on_commit: Is told of each batch; it must neither fail nor wait.

    Raises:
        BrokerUnavailable: On starting; later outages are waited for.
        DatabaseUnavailable: The same.
        InvalidLimit: A `MAX_ARGUMENT_BYTES` that is none.
        InvalidRedaction: A rule of `REDACT` that cannot be understood.
        InvalidURL: The result backend is no SQL database.
        MonitorQueueUnknown: The app declares no monitor queue.
        SchemaOutdated: The tables are missing or too old.
    """

    def __init__(
        self,
        app: Celery,
        *,
        batch_size: int = 500,
        batch_wait_s: float = 0.2,
        report_s: float = REPORT_S,
        health_file: Path | None = None,
        on_commit: Callable[[CommittedBatch], object] | None = None,
    ) -> None:
        self._app = app
        self._queue = monitor_queue(app)
        self._redaction = Redaction.of(app)
        self._max_bytes = max_argument_bytes(app)
        self._engine = open_engine(database_url(app.conf.result_backend), pool_size=1)
        self._batch_size = batch_size
        self._batch_wait_s = batch_wait_s
        self._meter = Meter(report_s)
        self._health = None if health_file is None else HealthFile(health_file)
        self._on_commit = on_commit
        self._sweep = Sweep()
        # No `Event`: its lock is not safe in a signal handler.
        self._stopping = False
        self._waiting: list[Message] = []
        self._waiting_since = 0.0
        self._multiple = False
        self._broker_waits_s = backoff()

    def stop(self) -> None:
        """Have `run` write what it holds, and return. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Work until `stop` is called."""
        try:
            check_schema(self._engine)
            self._check_broker()
            while not self._stopping:
                self._consume_until_cut()
            if self._health is not None:
                self._health.remove()
        finally:
            self._engine.dispose()

    def _check_broker(self) -> None:
        connection = self._connection()
        shown = str(connection.as_uri())
        try:
            with connection:
                connection.connect()
                self._queue(connection.default_channel).declare()
        except _broker_errors(connection) as error:
            raise BrokerUnavailable(
                f"broker {shown} cannot be used: {error}; check broker_url, and that "
                "the server runs"
            ) from error
        _logger.info(
            "copying tasks from queue %r of %s to %s",
            self._queue.name,
            shown,
            self._engine.url.render_as_string(hide_password=True),
        )

    def _connection(self) -> Connection:
        try:
            connection: Connection = self._app.connection_for_read(
                heartbeat=0, connect_timeout=CONNECT_TIMEOUT_S
            )
            _ = connection.transport
        except (KeyError, ImportError) as error:
            raise BrokerUnavailable(
                f"the broker's kind is unknown, or its client is not installed: "
                f"{error}; check broker_url"
            ) from error
        return connection

    def _consume_until_cut(self) -> None:
        connection = self._connection()
        try:
            with connection:
                self._consume(connection)
        except _broker_errors(connection) as error:
            # Not acknowledged, so the broker delivers them again.
            self._waiting.clear()
            if not self._stopping:
                _logger.warning("broker away, trying again: %r", error)
                rest(next(self._broker_waits_s), is_over=self._is_rest_over)

    def _consume(self, connection: Connection) -> None:
        # Each of its hosts once: kombu would go on for ten seconds, and not look
        # whether to stop.
        connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))
        # SQS hands out at most ten messages of a FIFO queue, and no more before
        # they are deleted: waiting for others would be in vain.
        one_drain = connection.transport.driver_type == "sqs"
        self._multiple = connection.transport.driver_type == "amqp"
        wait_s = 0.0 if one_drain else self._batch_wait_s
        channel: Any = connection.default_channel
        # py-amqp would decode a body by whatever encoding its message names.
        channel.auto_decode = False
        consumer = Consumer(
            channel,
            [self._queue],
            on_message=self._gather,
            on_decode_error=lambda message, _: self._gather(message),
            prefetch_count=2 * self._batch_size,
        )
        with consumer:
            while not self._stopping:
                self._drain(connection, self._time_left(wait_s))
                self._broker_waits_s = backoff()
                if self._is_due(wait_s):
                    self._flush()
                self._show_life()
                self._sweep.go_on_if_due(self._engine)
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
        left_s = self._waiting_since + wait_s - time.monotonic()
        return min(TICK_S, max(0.001, left_s))

    def _is_due(self, wait_s: float) -> bool:
        full = len(self._waiting) >= self._batch_size
        return full or (
            bool(self._waiting) and time.monotonic() - self._waiting_since >= wait_s
        )

    def _flush(self) -> None:
        messages, self._waiting = self._waiting, []
        if messages and self._write(messages):
            self._acknowledge(messages)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        if self._multiple:
            # They are all that came on this channel, up to the last.
            messages[-1].ack(multiple=True)
            return
        for message in messages:
            message.ack()

    def _write(self, messages: Sequence[Message]) -> bool:
        """Commit messages; return False if an outage lasts until the monitor stops."""
        records = [self._read(message) for message in messages]
        try:
            return self._commit_in_time(records)
        except (StatementError, ValueError) as error:
            return self._write_each(messages, error)

    def _read(self, message: Message) -> Record:
        seen_at = datetime.now(UTC)
        try:
            return read_task(
                message,
                seen_at=seen_at,
                redaction=self._redaction,
                max_bytes=self._max_bytes,
            )
        except Unreadable as error:
            reason = str(error)
        except Exception as error:
            # Whatever comes: one message must not keep the others from the database.
            reason = f"it cannot be read: {error!r}"
        return _quarantined(message, reason, seen_at)

    def _write_each(self, messages: Sequence[Message], error: Exception) -> bool:
        """Find the message that a database refuses: it must not fail the others."""
        if len(messages) > 1:
            return all([self._write([message]) for message in messages])
        [message] = messages
        reason = f"the database refuses it: {error}"
        return self._commit_in_time([_quarantined(message, reason, datetime.now(UTC))])

    def _commit_in_time(self, records: Sequence[Record]) -> bool:
        """Commit records, after an outage if need be; return False as `_write` does."""
        waits_s = backoff()
        while True:
            try:
                self._commit(records)
                return True
            except DBAPIError as error:
                if not is_outage(error):
                    raise
                _logger.warning("database away, trying again: %s", error.orig)
            if self._stopping:
                return False
            rest(next(waits_s), is_over=self._is_rest_over)

    def _commit(self, records: Sequence[Record]) -> None:
        began_at = time.monotonic()
        with self._engine.begin() as connection:
            write_batch(connection, records)
        duration_s = time.monotonic() - began_at
        batch = CommittedBatch.of(records, duration_s=duration_s)
        self._meter.add(batch)
        if self._on_commit is not None:
            self._on_commit(batch)

    def _show_life(self) -> None:
        self._meter.report_if_due()
        if self._health is not None:
            self._health.touch_if_due(self._engine)

    def _is_rest_over(self) -> bool:
        self._meter.report_if_due()
        return self._stopping


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


def _quarantined(message: Message, reason: str, seen_at: datetime) -> QuarantineRecord:
    record = keep_unread(message, reason=reason, seen_at=seen_at)
    _logger.warning("message put into quarantine: %s", record.reason)
    return record


def _broker_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    """Return what a broker's client raises, for good or for a while."""
    return (
        OSError,
        BrokerError,
        *connection.connection_errors,
        *connection.channel_errors,
    )
