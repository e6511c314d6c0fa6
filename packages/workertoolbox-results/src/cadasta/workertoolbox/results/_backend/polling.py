"""How long to wait between two looks for a result."""

from __future__ import annotations

import time
from collections.abc import Iterator

#: Seconds of the first wait: less than a quick task takes on a quick broker.
SHORTEST_S = 0.001

#: Each wait is longer than the one before by this factor. So a result is seen late by a
#: tenth of the time that it took at most, and a slow one costs few looks: 48 in the
#: first second, and two a second after five.
GROWTH = 1.1


def waits(timeout_s: float | None, *, longest_s: float) -> Iterator[float | None]:
    """Yield the seconds to wait after each look, and None when the time is over.

    Args:
        timeout_s: Seconds until the time is over, or None for never. The last wait ends
            with them.
        longest_s: Longest wait in seconds.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    wait_s = min(SHORTEST_S, longest_s)
    while True:
        left_s = longest_s if deadline is None else deadline - time.monotonic()
        yield None if left_s <= 0 else min(wait_s, left_s)
        wait_s = min(wait_s * GROWTH, longest_s)
