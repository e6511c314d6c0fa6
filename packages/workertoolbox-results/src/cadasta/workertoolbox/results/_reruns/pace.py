"""The rate at which tasks are published."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from cadasta.workertoolbox.results._errors import InvalidRate

#: Seconds between two checks whether to stop.
_TICK_S = 0.2

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")

#: The highest rate, per second.
MAX_PER_S = 10_000

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_rate(text: str) -> float:
    """Return a rate such as `10/s`, `90/m` or `5/h` as a number per second.

    Raises:
        InvalidRate: The text is not a rate, or the rate is out of range.
    """
    match = _RATE.fullmatch(text.strip())
    per_s = float(match[1]) / _SECONDS[match[2]] if match else 0.0
    if not 0 < per_s <= MAX_PER_S:
        raise InvalidRate(text)
    return per_s


class Pace:
    """Lets calls of `wait` return at a rate, evenly spaced.

    Args:
        per_s: The rate, per second.
        should_stop: Called about five times a second while it waits.
    """

    def __init__(self, per_s: float, *, should_stop: Callable[[], bool]) -> None:
        self._gap_s = 1 / per_s
        self._next = time.monotonic()
        self._should_stop = should_stop

    def wait(self) -> bool:
        """Wait for the next turn; return whether to go on."""
        while not self._should_stop():
            left_s = self._next - time.monotonic()
            if left_s <= 0:
                self._next = time.monotonic() + self._gap_s
                return True
            time.sleep(min(left_s, _TICK_S))
        return False
