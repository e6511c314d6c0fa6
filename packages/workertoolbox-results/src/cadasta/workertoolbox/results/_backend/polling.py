"""Intervals between the queries of a process that waits for a row."""

from __future__ import annotations

import time
from collections.abc import Iterator

#: First interval in seconds: less than a quick task takes on a quick broker.
SHORTEST_S = 0.001

#: Longest interval in seconds while `get()` waits for a result: Celery's default.
LONGEST_S = 0.5

#: Factor by which each interval is longer than the one before. A result is found late
#: by about a tenth of the time waited at most, and waiting takes few queries: 48 in the
#: first second, and two per second after five seconds.
GROWTH = 1.1


def poll_intervals(
    timeout_s: float | None, *, longest_s: float = LONGEST_S
) -> Iterator[float | None]:
    """Yield the seconds to sleep after each query, and None after the timeout.

    Args:
        timeout_s: Seconds after which to stop, or None for no limit. The last interval
            ends at the timeout.
        longest_s: Longest interval in seconds.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    interval_s = min(SHORTEST_S, longest_s)
    while True:
        left_s = longest_s if deadline is None else deadline - time.monotonic()
        yield None if left_s <= 0 else min(interval_s, left_s)
        interval_s = min(interval_s * GROWTH, longest_s)
