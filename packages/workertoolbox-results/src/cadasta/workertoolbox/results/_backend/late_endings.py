"""The ends of tasks that a worker's main process has to record during an outage.

The main process records the tasks that no pool process can record: expired, revoked
and unregistered tasks, and those whose process was killed. An error there would end
the worker, and a wait would stop it from answering its broker.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import NamedTuple

from celery.utils.log import get_logger

from cadasta.workertoolbox.results._backend.retries import (
    may_succeed_later,
    no_retries_after,
)

#: Number of ends that are kept. More are lost, each with a line of log.
MAX_PENDING = 10_000

#: Seconds between two attempts to record the oldest end.
RETRY_S = 1.0

#: Seconds that a process spends on the remaining ends before it exits.
EXIT_S = 5.0

logger = get_logger(__name__)


class LateEnding(NamedTuple):
    """The end of a task that is not recorded yet.

    Attributes:
        record: Records it, in any thread. Calling it twice does no harm.
    """

    task_id: str
    record: Callable[[], object]


class LateEndings:
    """The ends of tasks in this process that a thread records after an outage."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self._finish)

    def _reset(self) -> None:
        self._pending: deque[LateEnding] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None

    def record(self, ending: LateEnding) -> None:
        """Record an end at once, or keep it if the database is unavailable."""
        if self._pending:
            self._keep(ending)
        elif (error := _try(ending)) is not None:
            logger.warning(
                "end of task %s is recorded later: %s", ending.task_id, error
            )
            self._keep(ending)

    def _keep(self, ending: LateEnding) -> None:
        with self._changed:
            if len(self._pending) >= MAX_PENDING:
                logger.error("end of task %s is lost: too many wait", ending.task_id)
                return
            self._pending.append(ending)
            if self._thread is None:
                self._thread = Thread(target=self._record_pending, daemon=True)
                self._thread.start()
            self._changed.notify()

    def _record_pending(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
            if not self._record_oldest():
                time.sleep(RETRY_S)

    def _record_oldest(self) -> bool:
        """Return whether the oldest end is recorded, or can never be."""
        ending = self._pending[0]
        if _try(ending) is not None:
            return False
        with self._changed:
            if self._pending and self._pending[0] is ending:
                self._pending.popleft()
        if not self._pending:
            logger.info("the ends of all tasks are recorded")
        return True

    def _finish(self) -> None:
        """Record the remaining ends before the process exits."""
        deadline = time.monotonic() + EXIT_S
        while self._pending and time.monotonic() < deadline and self._record_oldest():
            pass
        for ending in self._pending:
            logger.error("end of task %s is lost: the worker ends", ending.task_id)


def _try(ending: LateEnding) -> Exception | None:
    """Record an end; return the error if the database is unavailable."""
    try:
        with no_retries_after(0):
            ending.record()
    except Exception as error:
        if may_succeed_later(error):
            return error
        logger.exception("end of task %s cannot be recorded", ending.task_id)
    return None


late_endings = LateEndings()
