"""From the task-monitor queue into the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError as BrokerError
from kombu.message import Message

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import max_argument_bytes
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._errors import (
    BrokerUnavailable,
    MonitorQueueUnknown,
)
from cadasta.workertoolbox.results._history.watermark import WatermarkSweep
from cadasta.workertoolbox.results._monitor.backoff import TICK_S, backoff, sleep_unless
from cadasta.workertoolbox.results._monitor.buffer import MessageBuffer
from cadasta.workertoolbox.results._monitor.decompression import left_compressed
from cadasta.workertoolbox.results._monitor.health import HealthFile
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch, Throughput
from cadasta.workertoolbox.results._monitor.writer import Writer

_logger = logging.getLogger(__name__)

#: Seconds to wait for a broker that does not answer when the monitor starts.
CONNECT_TIMEOUT_S = 10

#: Longest time in seconds until a batch that is written is acknowledged, if nothing
#: else comes.
SETTLE_S = 0.02

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
        self._engine = open_engine(database_url(app.conf.result_backend), pool_size=1)
        # One batch is written and one is gathered, while two are on their way.
        self._prefetch_count = 4 * batch_size
        self._batch_wait_s = batch_wait_s
        self._throughput = Throughput(report_s)
        self._health = None if health_file is None else HealthFile(health_file)
        self._on_commit = on_commit
        self._writer = Writer(
            self._engine,
            redaction=Redaction.from_app(app),
            max_bytes=max_argument_bytes(app),
            on_commit=self._count,
            is_over=lambda: self._stopping,
        )
        # One thread has the database; the one that calls `run` has the broker, whose
        # client no other may use.
        self._thread = ThreadPoolExecutor(1, "writer")
        self._sweep = WatermarkSweep()
        # No `Event`: its lock is not safe in a signal handler.
        self._stopping = False
        self._buffer = MessageBuffer(batch_size)
        self._writing: tuple[list[Message], Future[bool]] | None = None
        self._chores: Future[None] | None = None
        self._chores_at = 0.0
        self._is_amqp = False
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
        finally:
            self._stopping = True
            self._thread.shutdown()
            self._engine.dispose()
        if self._health is not None:
            self._health.remove()

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
            self._buffer.take()
            self._writing = None
            if not self._stopping:
                _logger.warning("broker away, trying again: %r", error)
                sleep_unless(next(self._broker_waits_s), is_over=self._is_rest_over)

    def _consume(self, connection: Connection) -> None:
        # Each of its hosts once: kombu would go on for ten seconds, and not look
        # whether to stop.
        connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))
        # SQS hands out at most ten messages of a FIFO queue, and no more before
        # they are deleted: waiting for others would be in vain.
        one_drain = connection.transport.driver_type == "sqs"
        wait_s = 0.0 if one_drain else self._batch_wait_s
        self._is_amqp = connection.transport.driver_type == "amqp"
        channel: Any = connection.default_channel
        # py-amqp would decode a body by whatever encoding its message names.
        channel.auto_decode = False
        channel.Message = left_compressed(channel.Message)
        consumer = Consumer(
            channel,
            [self._queue],
            on_message=self._buffer.add,
            on_decode_error=lambda message, _: self._buffer.add(message),
            prefetch_count=self._prefetch_count,
        )
        with consumer:
            while not self._stopping:
                is_due = self._gather(connection, wait_s)
                self._broker_waits_s = backoff()
                if is_due:
                    self._submit_batch()
                elif self._writing is not None and self._writing[1].done():
                    self._acknowledge_written()
                self._run_housekeeping()
            consumer.cancel()
            self._submit_batch()
            self._acknowledge_written()

    def _gather(self, connection: Connection, wait_s: float) -> bool:
        """Gather messages; return whether they are to be written now.

        It also returns if nothing comes, and soon if a batch is being written.
        """
        tick_s = TICK_S if self._writing is None else SETTLE_S
        look_at = time.monotonic() + tick_s
        while not self._buffer.is_full() and not self._stopping:
            left_s = look_at - time.monotonic()
            if self._buffer:
                left_s = min(left_s, self._buffer.left_s(wait_s))
            if left_s <= 0:
                break
            try:
                connection.drain_events(timeout=left_s)
            except TimeoutError:
                break
        if self._buffer.is_full():
            return True
        return bool(self._buffer) and self._buffer.left_s(wait_s) <= 0

    def _submit_batch(self) -> None:
        """Have what is gathered written, as soon as the batch before is."""
        self._acknowledge_written()
        messages = self._buffer.take()
        if not messages:
            return
        self._writing = messages, self._thread.submit(self._writer.write, messages)
        if not self._is_amqp:
            # A virtual transport may poll for seconds before it lets us acknowledge.
            self._acknowledge_written()

    def _acknowledge_written(self) -> None:
        """Wait for the batch that is being written, and acknowledge it."""
        if self._writing is None:
            return
        messages, written = self._writing
        while not wait([written], timeout=TICK_S).done:
            self._throughput.report_if_due()
        self._writing = None
        if written.result():
            self._acknowledge(messages)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        if self._is_amqp:
            # They are all that came on this channel, up to the last.
            messages[-1].ack(multiple=True)
            return
        for message in messages:
            message.ack()

    def _count(self, batch: CommittedBatch) -> None:
        self._throughput.add(batch)
        if self._on_commit is not None:
            self._on_commit(batch)

    def _run_housekeeping(self) -> None:
        """Do what is due from time to time, behind the batch that is being written."""
        self._throughput.report_if_due()
        now = time.monotonic()
        if now < self._chores_at:
            return
        if self._chores is not None:
            if not self._chores.done():
                return
            self._chores.result()
        self._chores = self._thread.submit(self._do_chores)
        self._chores_at = now + TICK_S

    def _do_chores(self) -> None:
        if self._health is not None:
            self._health.touch_if_due(self._engine)
        self._sweep.advance_if_due(self._engine)

    def _is_rest_over(self) -> bool:
        self._throughput.report_if_due()
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


def _broker_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    """Return what a broker's client raises, for good or for a while."""
    return (
        OSError,
        BrokerError,
        *connection.connection_errors,
        *connection.channel_errors,
    )
