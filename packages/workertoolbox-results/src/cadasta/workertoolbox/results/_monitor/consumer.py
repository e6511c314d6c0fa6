"""The monitor: consumes task messages and stores them in the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection, Consumer

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import max_argument_bytes
from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    shown_url,
)
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results._history.ended_tasks import archive_options
from cadasta.workertoolbox.results._monitor.archiver_thread import ArchiverThread
from cadasta.workertoolbox.results._monitor.backoff import TICK_S, backoff, sleep_unless
from cadasta.workertoolbox.results._monitor.broker import (
    broker_errors,
    declare_on_broker,
    is_permanent,
    monitor_queue,
    new_connection,
    refused,
)
from cadasta.workertoolbox.results._monitor.buffer import MessageBuffer
from cadasta.workertoolbox.results._monitor.decompression import keep_compressed
from cadasta.workertoolbox.results._monitor.file_limit import explain_file_limit
from cadasta.workertoolbox.results._monitor.health import HealthFile
from cadasta.workertoolbox.results._monitor.load import Load
from cadasta.workertoolbox.results._monitor.progress import Progress
from cadasta.workertoolbox.results._monitor.queue_removal import find_unread_on_broker
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch, Throughput
from cadasta.workertoolbox.results._monitor.writer import Writer
from cadasta.workertoolbox.results._monitor.writer_thread import WriterThread
from cadasta.workertoolbox.results._safe_text import log_text
from cadasta.workertoolbox.results._work_queues import WorkQueues

_logger = logging.getLogger(__name__)

#: Longest time in seconds from the commit of a batch to its acknowledgement while no
#: other message arrives.
ACKNOWLEDGE_WITHIN_S = 0.02


class Monitor:
    """Consume the task-monitor queue and store its messages in the database.

    Messages are written in batches. Each batch is one transaction, and its messages are
    acknowledged after the commit. A message that cannot be read is written to the
    quarantine table with the reason, and then acknowledged. While the broker or the
    database is unavailable, messages stay in the queue, and the monitor retries after
    random waits of up to 15 seconds. Any number of monitors can run at the same time.
    One of them at a time moves ended tasks to the history.

    A monitor runs once: `run` blocks until `stop` is called from another thread or from
    a signal handler.

    Args:
        app: App that is configured with the toolbox. Its settings `REDACT` and
            `MAX_ARGUMENT_BYTES` apply to the stored arguments.
        batch_size: Maximum number of messages in a batch.
        batch_wait_s: Maximum time in seconds that a message waits for others to be
            written with. On SQS messages do not wait: SQS delivers at most ten messages
            of a FIFO queue before they are deleted.
        report_s: Seconds between two log lines with throughput and lag.
        until_empty: Read only what the queue holds, and neither declare nor bind it,
            so that `tasks leave` can delete it.
        health_file: File that is touched every two seconds while both the broker and
            the database can be reached, and removed when `run` returns.
        on_commit: Called with each committed batch, in the thread that writes to the
            database. It must not raise, and it should return at once.

    Raises:
        InvalidDuration: `ARCHIVE_AFTER` is not a duration.
        InvalidRetention: `RETENTION` is invalid.
        InvalidLimit: `MAX_ARGUMENT_BYTES` is not a positive number of bytes.
        InvalidRedaction: `REDACT` contains an invalid rule.
        InvalidURL: `result_backend` is not the URL of a supported database.
        MonitorQueueUnknown: The app declares no task-monitor queue.
    """

    def __init__(
        self,
        app: Celery,
        *,
        batch_size: int = 500,
        batch_wait_s: float = 0.2,
        report_s: float = 60.0,
        until_empty: bool = False,
        health_file: Path | None = None,
        on_commit: Callable[[CommittedBatch], object] | None = None,
    ) -> None:
        self._app = app
        self._queue = monitor_queue(app)
        self._engine = open_engine(database_url(tasks_database(app.conf)), pool_size=1)
        # One batch is being written, one is being collected, and two are on their way
        # from the broker.
        self._prefetch_count = 4 * batch_size
        self._batch_wait_s = batch_wait_s
        self._until_empty = until_empty
        self._throughput = Throughput(report_s)
        self._progress = Progress()
        self._health = None if health_file is None else HealthFile(health_file)
        self._on_commit = on_commit
        writer = Writer(
            self._engine,
            redaction=Redaction.from_app(app),
            max_bytes=max_argument_bytes(app),
            find_queue=WorkQueues(app).find,
            on_commit=self._count_batch,
            should_stop=lambda: self._stopping,
        )
        self._writer_thread = WriterThread(
            writer.write, while_waiting=self._throughput.report_if_due
        )
        self._load = Load(batch_size)
        self._archiver_thread = ArchiverThread(
            self._engine.url,
            archive_options(app),
            should_stop=lambda: self._stopping,
            is_busy=self._load.is_high,
        )
        # Not an `Event`, whose lock is not safe in a signal handler.
        self._stopping = False
        self._buffer = MessageBuffer(batch_size)
        self._housekeeping: Future[None] | None = None
        self._housekeeping_due_at = 0.0
        self._broker_waits_s = backoff()

    def stop(self) -> None:
        """Make `run` write the messages that it holds, and return.

        This can be called from any thread and from a signal handler.
        """
        self._stopping = True

    def run(self) -> None:
        """Consume messages until `stop` is called, or as `until_empty` says.

        Raises:
            BrokerUnavailable: The broker cannot be reached when the monitor starts, or
                refuses this service for good. After later outages it reconnects.
            DatabaseUnavailable: The database cannot be reached when the monitor starts.
            FileLimitReached: The process may not open enough files when the monitor
                starts. Later the monitor waits, as in an outage.
            SchemaOutdated: The tables are missing or older than this release needs.
        """
        try:
            with explain_file_limit():
                check_schema(self._engine)
                find = find_unread_on_broker if self._until_empty else declare_on_broker
                broker = find(self._app, self._queue)
            if broker is None:
                _logger.info("queue %r is empty", self._queue.name)
                return
            _logger.info(
                "copying tasks from queue %r of %s to %s",
                self._queue.name,
                broker,
                shown_url(self._engine.url),
            )
            # The archiver waits for messages from its first batch on.
            self._progress.report_if_due(self._engine)
            self._archiver_thread.start()
            while not self._stopping:
                self._consume_until_disconnected()
        finally:
            self._stopping = True
            self._writer_thread.shutdown()
            self._archiver_thread.shutdown()
            self._engine.dispose()
        if self._health is not None:
            self._health.remove()

    def _consume_until_disconnected(self) -> None:
        try:
            connection = new_connection(self._app)
        except OSError as error:  # No file descriptor is left for its poller.
            self._wait_for_broker(error)
            return
        try:
            with connection:
                self._consume(connection)
        except broker_errors(connection) as error:
            if is_permanent(connection, error):
                raise refused(connection, error) from error
            # The broker delivers the messages again, as they are not acknowledged.
            self._buffer.take_all()
            self._wait_for_broker(error)

    def _wait_for_broker(self, error: BaseException) -> None:
        if self._stopping:
            return
        _logger.warning("broker unavailable, retrying: %s", log_text(repr(error)))
        sleep_unless(next(self._broker_waits_s), should_stop=self._report_or_stop)

    def _consume(self, connection: Connection) -> None:
        # Each host of the broker is tried once. With more tries, kombu would retry for
        # ten seconds without checking whether to stop.
        connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))
        driver = connection.transport.driver_type
        self._writer_thread.restart(is_amqp=driver == "amqp")
        is_sqs = driver == "sqs"
        self._load.restart(is_sqs=is_sqs)
        self._progress.restart()
        with self._consumer(connection) as consumer:
            while not self._stopping:
                batch_wait_s = 0.0 if is_sqs else self._batch_wait_s
                is_due = self._collect(connection, batch_wait_s)
                self._broker_waits_s = backoff()
                if is_due:
                    self._writer_thread.submit_batch(self._buffer.take_all())
                else:
                    self._writer_thread.acknowledge_if_written()
                self._submit_housekeeping()
                if self._until_empty and self._progress.is_quiet:
                    self._stopping = True
            consumer.cancel()
            self._writer_thread.submit_batch(self._buffer.take_all())
            self._writer_thread.acknowledge_written()

    def _consumer(self, connection: Connection) -> Consumer:
        channel: Any = connection.default_channel
        # py-amqp would decode the body with any encoding that the message names.
        channel.auto_decode = False
        channel.Message = keep_compressed(channel.Message)
        return Consumer(
            channel,
            [self._queue],
            on_message=self._buffer.add,
            on_decode_error=lambda message, _: self._buffer.add(message),
            prefetch_count=self._prefetch_count,
            auto_declare=not self._until_empty,
        )

    def _collect(self, connection: Connection, batch_wait_s: float) -> bool:
        """Receive messages into the buffer; return whether they are due for writing.

        It returns within a second, or sooner while a batch is being written.
        """
        tick_s = ACKNOWLEDGE_WITHIN_S if self._writer_thread.has_batch else TICK_S
        return_at = time.monotonic() + tick_s
        while not self._buffer.is_full() and not self._stopping:
            left_s = return_at - time.monotonic()
            if self._buffer:
                left_s = min(left_s, self._buffer.remaining_s(batch_wait_s))
            if left_s <= 0:
                break
            try:
                connection.drain_events(timeout=left_s)
            except TimeoutError:
                if not self._buffer and not self._writer_thread.has_batch:
                    self._progress.add_quiet_wait()
                break
        if self._buffer:
            self._progress.restart()
        return self._buffer.is_due(batch_wait_s)

    def _count_batch(self, batch: CommittedBatch) -> None:
        self._load.add(batch.stored + batch.quarantined)
        self._throughput.add(batch)
        self._progress.add(batch.published_until)
        if self._on_commit is not None:
            self._on_commit(batch)

    def _submit_housekeeping(self) -> None:
        """Report the throughput if it is due; submit the housekeeping once a second."""
        self._throughput.report_if_due()
        now = time.monotonic()
        if now < self._housekeeping_due_at:
            return
        if self._housekeeping is not None:
            if not self._housekeeping.done():
                return
            self._housekeeping.result()
        self._archiver_thread.check()
        self._housekeeping = self._writer_thread.submit(self._do_housekeeping)
        self._housekeeping_due_at = now + TICK_S

    def _do_housekeeping(self) -> None:
        self._progress.report_if_due(self._engine)
        if self._health is not None:
            self._health.touch_if_due(self._engine)

    def _report_or_stop(self) -> bool:
        """Report the throughput if it is due; return whether to stop."""
        self._throughput.report_if_due()
        return self._stopping
