"""Waiting for something to become true; the only place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks: short beside what is waited for, long beside a look.
INTERVAL_S = 0.05


def wait_until(check: Callable[[], T], *, timeout_s: float = 30.0) -> T:
    """Call a function until it returns something true, and return that.

    An `AssertionError` counts as "not yet"; any other error ends the wait.

    Raises:
        AssertionError: After `timeout_s` seconds; shows what was seen last.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        try:
            seen = check()
            if seen:
                return seen
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            last = repr(seen) if failure is None else str(failure)
            raise AssertionError(f"after {timeout_s:g} s still {last}") from failure
        time.sleep(INTERVAL_S)
