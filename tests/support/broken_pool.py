"""A worker pool that fails on every task: `worker_pool="broken_pool:Pool"`."""

from __future__ import annotations

from typing import Any

from celery.concurrency.solo import TaskPool


class Pool(TaskPool):
    """A pool that raises the error that a malformed message could raise."""

    def apply_async(self, *_: Any, **__: Any) -> Any:
        """Raise `TypeError` instead of running a task."""
        raise TypeError("this pool takes nothing")
