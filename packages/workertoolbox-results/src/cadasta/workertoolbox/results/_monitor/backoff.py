"""Waits between retries during an outage."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

#: Upper limit of the first wait in seconds. Most outages are a restart or a fail-over.
FIRST_LIMIT_S = 0.5

#: Upper limit of every wait in seconds, however long the outage lasts.
MAX_LIMIT_S = 15.0

#: Seconds between two checks whether the monitor should stop.
TICK_S = 1.0


def backoff() -> Iterator[float]:
    """Yield waits in seconds, each random between 0 and a limit that doubles.

    The waits are random so that monitors that lost the same server do not all reconnect
    at the same time.
    """
    limit_s = FIRST_LIMIT_S
    while True:
        yield random.uniform(0, limit_s)
        limit_s = min(2 * limit_s, MAX_LIMIT_S)


def sleep_unless(seconds: float, *, should_stop: Callable[[], bool]) -> None:
    """Sleep until the time is over or `should_stop` returns True.

    Args:
        should_stop: Called about once a second.
    """
    until = time.monotonic() + seconds
    while not should_stop() and (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, TICK_S))
