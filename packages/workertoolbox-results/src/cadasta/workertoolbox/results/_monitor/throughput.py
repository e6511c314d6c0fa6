"""Throughput and lag of a monitor."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Self

from cadasta.workertoolbox.results._monitor.records import Record, TaskRecord

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedBatch:
    """A committed transaction of a monitor.

    Attributes:
        stored: Number of task messages in it.
        quarantined: Number of messages in it that could not be read.
        duration_s: Duration of the transaction in seconds.
        lag_s: Seconds from the publication of its oldest task message to the commit. It
            is 0 without a task message, or if the publisher's clock is ahead.
        published_until: When the newest of its task messages was published; None if no
            message says so.
    """

    stored: int
    quarantined: int
    duration_s: float
    lag_s: float
    published_until: datetime | None

    @classmethod
    def of(cls, records: Sequence[Record], *, duration_s: float) -> Self:
        """Return the measurements of records that have just been committed."""
        tasks = [one for one in records if isinstance(one, TaskRecord)]
        published = [one.scheduled_at for one in tasks]
        # A publisher whose clock is ahead must not announce messages of others.
        known = [one.scheduled_at for one in tasks if one.published_at is not None]
        now = datetime.now(UTC)
        lag_s = (now - min([*published, now])).total_seconds()
        return cls(
            stored=len(published),
            quarantined=len(records) - len(published),
            duration_s=duration_s,
            lag_s=lag_s,
            published_until=max(known, default=None),
        )


class Throughput:
    """Counts of written messages, logged as one line per interval.

    One thread may add batches while another reports them.

    Args:
        interval_s: Seconds between two lines.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._since = time.monotonic()
        self._lock = Lock()
        self._batches: list[CommittedBatch] = []

    def add(self, batch: CommittedBatch) -> None:
        """Count a batch."""
        with self._lock:
            self._batches.append(batch)

    def report_if_due(self) -> None:
        """Log a line and start a new interval if the current one is over."""
        passed_s = time.monotonic() - self._since
        if passed_s < self._interval_s:
            return
        with self._lock:
            batches, self._batches = self._batches, []
        self._since = time.monotonic()
        quarantined = sum(batch.quarantined for batch in batches)
        messages = quarantined + sum(batch.stored for batch in batches)
        _logger.info(
            "%d messages in %.0f s (%.1f/s), %d batches, %d quarantined, lag %.1f s",
            messages,
            passed_s,
            messages / passed_s,
            len(batches),
            quarantined,
            max((batch.lag_s for batch in batches), default=0.0),
        )
