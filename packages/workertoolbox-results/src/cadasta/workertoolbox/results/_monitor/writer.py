"""Messages into records, and records into the database, in and after an outage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from kombu.message import Message
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, StatementError

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._database.engine import is_outage
from cadasta.workertoolbox.results._monitor.backoff import backoff, sleep_unless
from cadasta.workertoolbox.results._monitor.message import (
    Unreadable,
    is_probe,
    quarantine_record,
    read_task,
)
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord, Record
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from cadasta.workertoolbox.results._monitor.upserts import write_batch

_logger = logging.getLogger(__name__)


class Writer:
    """Write messages in batches: what cannot be read goes into quarantine.

    Args:
        redaction: What is hidden of arguments.
        max_bytes: Most bytes that are stored of them, of each of both kinds.
        on_commit: Is told of each batch.
        is_over: Whether to give up waiting for a database that is away.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        redaction: Redaction,
        max_bytes: int,
        on_commit: Callable[[CommittedBatch], object],
        is_over: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._redaction = redaction
        self._max_bytes = max_bytes
        self._on_commit = on_commit
        self._is_over = is_over

    def write(self, messages: Sequence[Message]) -> bool:
        """Commit messages; return False if it was over before the end of an outage."""
        seen_at = datetime.now(UTC)
        records = [
            self._read(message, seen_at)
            for message in messages
            if not is_probe(message)
        ]
        try:
            return not records or self._commit_in_time(records)
        except (StatementError, ValueError) as error:
            return self._write_each(messages, error)

    def _read(self, message: Message, seen_at: datetime) -> Record:
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
            return all([self.write([message]) for message in messages])
        [message] = messages
        reason = f"the database refuses it: {error}"
        return self._commit_in_time([_quarantined(message, reason, datetime.now(UTC))])

    def _commit_in_time(self, records: Sequence[Record]) -> bool:
        """Commit records, after an outage if need be; return False as `write` does."""
        waits_s = backoff()
        while True:
            try:
                self._commit(records)
                return True
            except DBAPIError as error:
                if not is_outage(error):
                    raise
                _logger.warning("database away, trying again: %s", error.orig)
            if self._is_over():
                return False
            sleep_unless(next(waits_s), is_over=self._is_over)

    def _commit(self, records: Sequence[Record]) -> None:
        began_at = time.monotonic()
        with self._engine.begin() as connection:
            write_batch(connection, records)
        duration_s = time.monotonic() - began_at
        self._on_commit(CommittedBatch.of(records, duration_s=duration_s))


def _quarantined(message: Message, reason: str, seen_at: datetime) -> QuarantineRecord:
    record = quarantine_record(message, reason=reason, seen_at=seen_at)
    _logger.warning("message put into quarantine: %s", record.reason)
    return record
