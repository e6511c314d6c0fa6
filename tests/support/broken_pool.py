"""A worker's pool that fails on every task: `worker_pool="broken_pool:Pool"`."""

from __future__ import annotations

from typing import Any

from celery.concurrency.solo import TaskPool


class Pool(TaskPool):
    """Raises what a message that is no task would have raised."""

    def apply_async(self, *_: Any, **__: Any) -> Any:
        """Take no task."""
        raise TypeError("this pool takes nothing")
