"""Writing of batches of messages, with retries during an outage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from kombu.message import Message
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, StatementError

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._database.outages import is_outage, one_line
from cadasta.workertoolbox.results._headers import FindQueue, work_queue
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._monitor.backoff import backoff, sleep_unless
from cadasta.workertoolbox.results._monitor.message import is_probe, read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord, Record
from cadasta.workertoolbox.results._monitor.releases import (
    KnownReleases,
    write_releases,
)
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._safe_text import log_text

_logger = logging.getLogger(__name__)


class Writer:
    """Writes messages to the database, and puts unreadable messages into quarantine.

    Args:
        redaction: Rules for hiding arguments.
        max_bytes: Maximum size in bytes, as JSON, of `args` and of `kwargs`.
        find_queue: Returns the work queue of a message.
        on_commit: Called with each committed batch.
        should_stop: Called during an outage of the database; returns whether to give
            up.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        redaction: Redaction,
        max_bytes: int,
        find_queue: FindQueue = work_queue,
        on_commit: Callable[[CommittedBatch], object],
        should_stop: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._redaction = redaction
        self._max_bytes = max_bytes
        self._find_queue = find_queue
        self._on_commit = on_commit
        self._should_stop = should_stop
        self._faulty = FaultyRows(limit=None)
        self._releases = KnownReleases()

    def write(self, messages: Sequence[Message]) -> bool:
        """Commit a batch of messages.

        Returns:
            True if the batch is committed, False if `should_stop` ended the retries
            first.
        """
        seen_at = datetime.now(UTC)
        records = [
            self._read(message, seen_at)
            for message in messages
            if not is_probe(message)
        ]
        try:
            return not records or self._commit_with_retries(records)
        except (StatementError, ValueError) as error:
            return self._write_each(messages, error)

    def _read(self, message: Message, seen_at: datetime) -> Record:
        try:
            return read_task(
                message,
                seen_at=seen_at,
                redaction=self._redaction,
                max_bytes=self._max_bytes,
                find_queue=self._find_queue,
            )
        except UnreadableMessage as error:
            reason = str(error)
        except Exception as error:
            # An unexpected error in one message must not keep others from being stored.
            reason = f"the message cannot be read: {error!r}"
        return self._quarantine(message, reason, seen_at)

    def _write_each(self, messages: Sequence[Message], error: Exception) -> bool:
        """Write each message by itself; quarantine those that the database refuses."""
        if len(messages) > 1:
            return all([self.write([message]) for message in messages])
        [message] = messages
        reason = f"the database refuses the message: {one_line(error)}"
        return self._commit_with_retries(
            [self._quarantine(message, reason, datetime.now(UTC))]
        )

    def _commit_with_retries(self, records: Sequence[Record]) -> bool:
        """Commit records and retry during an outage; return the same as `write`."""
        waits_s = backoff()
        while True:
            try:
                self._commit(records)
                return True
            except (DBAPIError, OSError) as error:
                if not is_outage(error):
                    raise
                _logger.warning("database unavailable, retrying: %s", one_line(error))
                # After a failover, the old connection may lead to a read-only server.
                self._engine.dispose()
            if self._should_stop():
                return False
            sleep_unless(next(waits_s), should_stop=self._should_stop)

    def _commit(self, records: Sequence[Record]) -> None:
        began_at = time.monotonic()
        releases = self._releases.new(records)
        with self._engine.begin() as connection:
            write_batch(connection, records, self._faulty)
            write_releases(connection, releases)
        duration_s = time.monotonic() - began_at
        self._releases.add(releases)
        self._on_commit(CommittedBatch.of(records, duration_s=duration_s))

    def _quarantine(
        self, message: Message, reason: str, seen_at: datetime
    ) -> QuarantineRecord:
        record = quarantine_record(
            message, reason=reason, seen_at=seen_at, redaction=self._redaction
        )
        _logger.warning("message put into quarantine: %s", log_text(record.reason))
        return record
