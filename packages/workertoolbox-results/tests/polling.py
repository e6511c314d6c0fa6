"""Waiting for the effects of other threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cadasta.workertoolbox.results import TaskNotFound, TaskStore


def eventually(
    get: Callable[[], Any], expected: Any, *, timeout_s: float = 10.0
) -> Any:
    """Call a function until it returns the expected value, or until the timeout.

    Args:
        timeout_s: Longest time in seconds.

    Returns:
        The last value that the function returned.
    """
    deadline = time.monotonic() + timeout_s
    while (value := get()) != expected and time.monotonic() < deadline:
        time.sleep(0.005)
    return value


def status_of(store: TaskStore, id: str) -> str | None:
    """Return the status of a task, or None if the task is unknown."""
    try:
        return store.get(id).status
    except TaskNotFound:
        return None
