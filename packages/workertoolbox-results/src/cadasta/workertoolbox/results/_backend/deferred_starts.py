"""Keep the start of a task for a moment, so that it is written with the end.

Most tasks take less time than a second write to the database would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from celery.utils.log import get_task_logger

from cadasta.workertoolbox.results._backend.states import write_state
from cadasta.workertoolbox.results._database.connection import Database

#: Seconds that a task has to run before its start is written without the end.
DELAY_S = 0.02

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
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._pending: dict[str, tuple[float, DeferredStart]] = {}
        self._lock = Lock()
        self._has_pending = Event()
        self._writer: Thread | None = None

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
                    self._write(id, self._pending.pop(id)[1])
                if not self._pending:
                    self._has_pending.clear()

    def _write(self, task_id: str, start: DeferredStart) -> None:
        try:
            write_state(self._database, start.build_row())
        except Exception as error:
            # The database fails, or the task is changing its arguments meanwhile. A
            # lost start is harmless: the final state is retried until it is stored.
            logger.warning("start of task %s not stored: %s", task_id, error)


def deferred_starts_for(database: Database) -> DeferredStarts:
    """Return the starts that all threads of this process share for a database.

    Celery creates a backend for each thread.
    """
    # `setdefault` is atomic: threads that call this at the same time get the same
    # object.
    return _instances.get(database) or _instances.setdefault(
        database, DeferredStarts(database)
    )
