"""Starts of tasks that are not written yet, because their end may come with them.

Most tasks take less time than a second write to the database.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from threading import Condition, Thread
from typing import Any

from celery.utils.log import get_task_logger
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._state import store

#: Seconds that a task has to run before its start is written by itself.
DELAY_S = 0.02

logger = get_task_logger(__name__)

_starts: dict[Engine, Starts] = {}


class Starts:
    """Rows of tasks that have started in this process, by the id of the task.

    Args:
        engine: Where they are written if the end does not come in time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._rows: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._changed = Condition()
        self._writer: Thread | None = None

    def put(self, row: Mapping[str, Any]) -> None:
        """Keep a row until it is due; a thread writes it then."""
        with self._changed:
            self._rows[row["task_id"]] = (time.monotonic() + DELAY_S, row)
            if self._writer is None:
                self._writer = Thread(target=self._write_due, daemon=True)
                self._writer.start()
            if len(self._rows) == 1:
                self._changed.notify()

    def take(self, task_id: str) -> Mapping[str, Any] | None:
        """Return a row that is not written yet, and leave it to the caller."""
        with self._changed:
            _, row = self._rows.pop(task_id, (0.0, None))
            return row

    def _write_due(self) -> None:
        while True:
            with self._changed:
                while not self._rows:
                    self._changed.wait()
                due_at, _ = next(iter(self._rows.values()))
            time.sleep(max(0.0, due_at - time.monotonic()))
            with self._changed:
                now = time.monotonic()
                for id in [id for id, (at, _) in self._rows.items() if at <= now]:
                    self._write(self._rows.pop(id)[1])

    def _write(self, row: Mapping[str, Any]) -> None:
        try:
            store(self._engine, row)
        except DBAPIError as error:
            # It is only news: the end is tried until it is stored.
            logger.warning("start of task %s not stored: %s", row["task_id"], error)


def starts_of(engine: Engine) -> Starts:
    """Return the starts of a process: Celery keeps a backend for each thread."""
    # Of threads that come at once, all get those of the first.
    return _starts.get(engine) or _starts.setdefault(engine, Starts(engine))
