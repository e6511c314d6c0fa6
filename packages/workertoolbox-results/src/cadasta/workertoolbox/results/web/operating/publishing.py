"""Reruns that a server publishes in the background."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from celery import Celery

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results._reruns.publishing import resume_rerun
from cadasta.workertoolbox.results._store.store import TaskStore

logger = logging.getLogger(__name__)

#: Maximum number of operations whose errors are remembered.
_MAX_REMEMBERED = 100


class BackgroundReruns:
    """Publishes the tasks of operations, each operation in a thread of its own.

    A server that ends stops after the task that it publishes at that moment.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._errors: OrderedDict[str, str] = OrderedDict()

    def start(self, store: TaskStore, operation_id: str) -> None:
        """Begin to publish the tasks of an operation."""
        with self._lock:
            self._running.add(operation_id)
        # Not a daemon: Python waits for it, and a message is not cut off.
        threading.Thread(
            target=self._publish,
            args=(store, operation_id),
            name=f"rerun {operation_id}",
            daemon=False,
        ).start()

    def is_running(self, operation_id: str) -> bool:
        """Return whether this process publishes the tasks of an operation."""
        with self._lock:
            return operation_id in self._running

    def find_error(self, operation_id: str) -> str | None:
        """Return why this process has stopped before the end of an operation."""
        with self._lock:
            return self._errors.get(operation_id)

    def _publish(self, store: TaskStore, operation_id: str) -> None:
        error: str | None = None
        try:
            for _ in resume_rerun(
                self._app, store, operation_id, should_stop=_is_ending
            ):
                pass
        except ResultsError as reason:
            error = str(reason)
            logger.error("operation %s was interrupted: %s", operation_id, reason)
        except Exception:
            error = "the log of the server has the reason"
            logger.exception("operation %s was interrupted", operation_id)
        with self._lock:
            self._running.discard(operation_id)
            if error is not None:
                self._errors[operation_id] = error
            while len(self._errors) > _MAX_REMEMBERED:
                self._errors.popitem(last=False)


def _is_ending() -> bool:
    """Return whether the process ends: its main thread has, and others have to."""
    return not threading.main_thread().is_alive()
