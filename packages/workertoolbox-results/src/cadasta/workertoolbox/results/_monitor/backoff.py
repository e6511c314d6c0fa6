"""How long to wait between two tries during an outage."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

#: Longest first wait in seconds: most outages are a restart or a fail-over.
FIRST_S = 0.5

#: Longest wait in seconds, however long the outage.
LONGEST_S = 15.0

#: Longest time in seconds between two looks whether to stop.
TICK_S = 1.0


def backoff() -> Iterator[float]:
    """Yield waits in seconds, each drawn from nought to twice the limit before.

    Drawn from the whole range, so that monitors which lost the same server do not all
    come back to it at once.
    """
    limit_s = FIRST_S
    while True:
        yield random.uniform(0, limit_s)
        limit_s = min(2 * limit_s, LONGEST_S)


def sleep_unless(seconds: float, *, is_over: Callable[[], bool]) -> None:
    """Wait, but no longer than until something is over, which is asked each second."""
    until = time.monotonic() + seconds
    while not is_over() and (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, TICK_S))
