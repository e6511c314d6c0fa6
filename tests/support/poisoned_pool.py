"""A worker pool that one task kills: `worker_pool="poisoned_pool:Pool"`."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.concurrency.solo import TaskPool

#: The id of the task that no worker survives.
POISON = "poison"


class Pool(TaskPool):
    """The `solo` pool, which dies before it accepts the task `POISON`."""

    def apply_async(
        self, target: Any, args: Any = (), *more: Any, **kwargs: Any
    ) -> Any:
        """Run a task, or end the process as the kernel does when memory runs out."""
        if POISON in args:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().apply_async(target, args, *more, **kwargs)
