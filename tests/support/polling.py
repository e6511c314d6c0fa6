"""Wait until a condition is true. This is the only module of the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two calls: short compared to a wait, long compared to a call.
INTERVAL_S = 0.05


def wait_until(check: Callable[[], T], *, timeout_s: float = 60.0) -> T:
    """Call a function until it returns a true value, and return that value.

    An `AssertionError` counts as false; any other error ends the wait.

    Raises:
        AssertionError: `timeout_s` seconds have passed. The message shows the last
            value or `AssertionError`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        try:
            value = check()
            if value:
                return value
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            last = repr(value) if failure is None else str(failure)
            raise AssertionError(f"after {timeout_s:g} s still {last}") from failure
        time.sleep(INTERVAL_S)
