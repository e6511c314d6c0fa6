"""What another thread is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cadasta.workertoolbox.results import TaskNotFound, TaskStore


def eventually(look: Callable[[], Any], wanted: Any, *, timeout_s: float = 10.0) -> Any:
    """Look until the wanted is seen or the time is over; return what was seen last."""
    deadline = time.monotonic() + timeout_s
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.005)
    return seen


def status_of(store: TaskStore, id: str) -> str | None:
    """Return the status of a task, or None if nothing is known of it."""
    try:
        return store.get(id).status
    except TaskNotFound:
        return None
