"""Keep the start of a task for a moment, so that it is written with the end.

Most tasks take less time than a second write to the database would. A thread writes the
starts of the others. It cannot do so while a task holds Python's global lock, as a
regular expression does. For pool processes, the worker's main process then writes the
start (see `start_watch.py`). A worker that runs tasks in its main process writes the
start of a task at once, unless the last task of that name was quick.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from celery.utils.log import get_task_logger

from cadasta.workertoolbox.results._backend.states import write_start
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.outages import is_outage, one_line

#: Seconds that a task has to run before its start is written without the end.
DELAY_S = 0.02

#: Seconds after which the thread tries again during an outage.
RETRY_S = 0.5

#: Seconds below which a task was quick: the next one of its name may wait.
QUICK_S = 0.1

logger = get_task_logger(__name__)

_instances: dict[Database, DeferredStarts] = {}


class DeferredStart(NamedTuple):
    """The start of a task that is not written yet.

    Attributes:
        started_at: When the task started.
        build_row: Returns the row to write. Called only if it is needed, because
            building it costs as much as building the row of a final state.
    """

    started_at: datetime
    build_row: Callable[[], Mapping[str, Any]]


class DeferredStarts:
    """The starts in this process that are not written yet, by task id.

    Args:
        database: Where a thread writes a start if the end does not come in time.

    Attributes:
        runs_tasks_in_main: Whether this process is a worker without pool processes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs_tasks_in_main = False
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._pending: dict[str, tuple[float, DeferredStart]] = {}
        self._lock = Lock()
        self._has_pending = Event()
        self._writer: Thread | None = None
        self._quick: set[str | None] = set()

    def may_wait(self, name: str | None) -> bool:
        """Return whether the start of a task may be written later by a thread."""
        return not self.runs_tasks_in_main or name in self._quick

    def count_run(self, name: str | None, duration_s: float) -> None:
        """Remember whether the last task of a name was quick."""
        if self.runs_tasks_in_main:
            (self._quick.add if duration_s < QUICK_S else self._quick.discard)(name)

    def put(self, task_id: str, start: DeferredStart) -> None:
        """Keep a start; a thread writes it after `DELAY_S`."""
        with self._lock:
            self._pending[task_id] = (time.monotonic() + DELAY_S, start)
            if self._writer is None:
                self._writer = Thread(target=self._write_pending, daemon=True)
                self._writer.start()
            if not self._has_pending.is_set():
                self._has_pending.set()

    def pop(self, task_id: str) -> DeferredStart | None:
        """Remove and return a start, or None if it is written or unknown."""
        with self._lock:
            _, start = self._pending.pop(task_id, (None, None))
        return start

    def write(self, task_id: str) -> None:
        """Write a start now, unless it is written; a thread writes it after an outage.

        For a task whose end another process stores, which does not know its start.
        """
        with self._lock:
            _, start = self._pending.pop(task_id, (None, None))
            if start is not None:
                self._write_or_keep(task_id, start)

    def _write_pending(self) -> None:
        # One wake-up per `DELAY_S` for all tasks: one for each task would take longer
        # than writing the rows.
        while self._has_pending.wait():
            time.sleep(DELAY_S)
            # Writing under the lock makes `pop` wait: a caller that gets None finds the
            # start in the database.
            with self._lock:
                now = time.monotonic()
                due = [id for id, (at, _) in self._pending.items() if at <= now]
                for id in due:
                    self._write_or_keep(id, self._pending.pop(id)[1])
                if not self._pending:
                    self._has_pending.clear()

    def _write_or_keep(self, task_id: str, start: DeferredStart) -> None:
        """Write a start, or keep it during an outage; the caller holds the lock."""
        try:
            write_start(self._database, start.build_row())
        except Exception as error:
            if is_outage(error):
                self._pending[task_id] = (time.monotonic() + RETRY_S, start)
                return
            # The task is changing its arguments meanwhile, or the data is invalid. A
            # lost start is harmless: the final state is retried until it is stored.
            logger.warning("start of task %s not stored: %s", task_id, one_line(error))


def deferred_starts_for(database: Database) -> DeferredStarts:
    """Return the starts that all threads of this process share for a database.

    Celery creates a backend for each thread.
    """
    # `setdefault` is atomic: threads that call this at the same time get the same
    # object.
    return _instances.get(database) or _instances.setdefault(
        database, DeferredStarts(database)
    )
