"""How far a monitor has read its queue, for the archiver."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from threading import Lock

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._history.horizon import report_progress
from cadasta.workertoolbox.results._history.monitor_ids import new_monitor_id

_logger = logging.getLogger(__name__)

#: Seconds between two reports.
INTERVAL_S = 5.0

#: Number of waits in a row without a message after which the queue counts as empty. SQS
#: may return no message although there are some.
QUIET_WAITS = 3


class Progress:
    """The time up to which all published messages are stored.

    Messages arrive about in the order of their publication, so it is the time of the
    last stored message. If no message arrives, the monitor is not behind.

    One thread may add batches while another one waits for messages.
    """

    def __init__(self) -> None:
        self._id = new_monitor_id()
        self._lock = Lock()
        self._read_until: datetime | None = None
        self._quiet_waits = 0
        self._quiet_since: datetime | None = None
        self._due_at = 0.0

    def add(self, published_until: datetime | None) -> None:
        """Note that messages are stored that were published up to this time."""
        if published_until is not None:
            self._advance(published_until)

    @property
    def is_quiet(self) -> bool:
        """Whether the queue counts as empty."""
        return self._quiet_waits >= QUIET_WAITS

    def restart(self) -> None:
        """Note that a message has arrived, or that the connection is a new one."""
        self._quiet_waits = 0

    def add_quiet_wait(self) -> None:
        """Note a wait without a message, while all received messages are stored."""
        self._quiet_waits += 1
        now = datetime.now(UTC)
        if self._quiet_waits == 1:
            self._quiet_since = now
        elif self._quiet_waits >= QUIET_WAITS and self._quiet_since is not None:
            self._advance(self._quiet_since)
            self._quiet_since = now

    def _advance(self, until: datetime) -> None:
        with self._lock:
            self._read_until = max(until, self._read_until or until)

    def report(self, engine: Engine) -> None:
        """Store the progress in the database.

        Raises:
            sqlalchemy.exc.DBAPIError: The database cannot be used.
        """
        now = datetime.now(UTC)
        with self._lock:
            known = self._read_until
        read_until = known and min(known, now)  # A publisher's clock may be ahead.
        with engine.begin() as connection:
            report_progress(connection, self._id, read_until=read_until, now=now)

    def report_if_due(self, engine: Engine) -> None:
        """Report if the interval is over; log an error of the database."""
        if time.monotonic() < self._due_at:
            return
        try:
            self.report(engine)
        except DBAPIError as error:
            _logger.warning("progress is not reported: %s", one_line(error))
        self._due_at = time.monotonic() + INTERVAL_S
