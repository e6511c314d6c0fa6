"""Run a monitor in a thread of the test process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from celery import Celery

from cadasta.workertoolbox.results import Monitor

#: Seconds that a task waits for others in a batch. Short, because tests wait as long.
BATCH_WAIT_S = 0.02


@contextmanager
def running_monitor(app: Celery) -> Iterator[Monitor]:
    """Run a monitor in a thread for the duration of a block.

    Args:
        app: An app, usually inside `embedded`.

    Raises:
        ResultsError: The monitor cannot run; see
            `cadasta.workertoolbox.results.Monitor.run`.
    """
    monitor = Monitor(app, batch_wait_s=BATCH_WAIT_S)
    with ThreadPoolExecutor(1, "toolbox monitor") as thread:
        running = thread.submit(monitor.run)
        try:
            yield monitor
        finally:
            monitor.stop()
        running.result()
