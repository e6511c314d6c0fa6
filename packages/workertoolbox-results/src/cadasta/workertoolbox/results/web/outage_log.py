"""Outages of the database in the log of the server: a line for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from cadasta.workertoolbox.results._database.outages import one_line

logger = logging.getLogger(__name__)

#: Seconds without a failed request after which an outage is over. A page that is open
#: asks again after a few seconds.
OVER_AFTER_S = 60.0

#: Seconds after which an outage that goes on is logged again.
REPEAT_S = 600.0


class OutageLog:
    """Logs the first request that an outage fails, and then one every ten minutes.

    Pages ask every few seconds, and each would log the same line.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failed_at = self._logged_at = -REPEAT_S

    def add(self, error: Exception) -> None:
        """Note that a request was answered with an error of the database."""
        with self._lock:
            now = self._clock()
            is_new = now - self._failed_at >= OVER_AFTER_S
            self._failed_at = now
            if not is_new and now - self._logged_at < REPEAT_S:
                return
            self._logged_at = now
        logger.warning("pages cannot be shown: %s", one_line(error))
