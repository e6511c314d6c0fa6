"""Starts of tasks that are not written yet, because their end may come with them.

Most tasks take less time than a second write to the database.
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

#: Seconds that a task has to run before its start is written by itself.
DELAY_S = 0.02

logger = get_task_logger(__name__)

_starts: dict[Database, DeferredStarts] = {}


class Start(NamedTuple):
    """A start that is not written.

    Attributes:
        at: When the task started.
        row: Makes the row, which costs as much as the row of the end.
    """

    at: datetime
    row: Callable[[], Mapping[str, Any]]


class DeferredStarts:
    """Tasks that have started in this process, by their id.

    Args:
        database: Where they are written if the end does not come in time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._due: dict[str, tuple[float, Start]] = {}
        self._lock = Lock()
        self._busy = Event()
        self._writer: Thread | None = None

    def put(self, task_id: str, start: Start) -> None:
        """Keep a start until it is due; a thread writes it then."""
        with self._lock:
            self._due[task_id] = (time.monotonic() + DELAY_S, start)
            if self._writer is None:
                self._writer = Thread(target=self._write_due, daemon=True)
                self._writer.start()
            if not self._busy.is_set():
                self._busy.set()

    def take(self, task_id: str) -> Start | None:
        """Return a start that is not written yet, and leave it to the caller."""
        with self._lock:
            due = self._due.pop(task_id, None)
        return None if due is None else due[1]

    def _write_due(self) -> None:
        # Awake once a `DELAY_S` while tasks come, however many: waking up for each
        # would take longer than the rows themselves.
        while self._busy.wait():
            time.sleep(DELAY_S)
            with self._lock:
                now = time.monotonic()
                for id in [id for id, (at, _) in self._due.items() if at <= now]:
                    self._write(id, self._due.pop(id)[1])
                if not self._due:
                    self._busy.clear()

    def _write(self, task_id: str, start: Start) -> None:
        try:
            write_state(self._database, start.row())
        except Exception as error:
            # Of the database, or of arguments that the task is changing. It is only
            # news: the end is tried until it is stored.
            logger.warning("start of task %s not stored: %s", task_id, error)


def deferred_starts_of(database: Database) -> DeferredStarts:
    """Return the starts of a process: Celery keeps a backend for each thread."""
    # Of threads that come at once, all get those of the first.
    return _starts.get(database) or _starts.setdefault(
        database, DeferredStarts(database)
    )
