"""Starts that the pool processes of a worker could not write themselves.

A task that holds Python's global lock stops the thread of its process that would write
its start. The worker's main process therefore looks at the tasks that have run for a
while, and writes the starts that are missing. It needs a connection only if there are
such tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet

from celery import states
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import active_requests
from sqlalchemy import bindparam, select

from cadasta.workertoolbox.results._backend.states import write_start
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.outages import is_outage, one_line
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc

#: Seconds between two looks at the running tasks.
INTERVAL_S = 0.25

#: Seconds that a task has to run before its start is looked for. The process that runs
#: it needs a fraction of that.
AFTER_S = 0.4

logger = get_logger(__name__)


class StartWatch:
    """Writes missing starts of the tasks that this worker's pool processes run.

    Args:
        build_row: Returns the row of a state, as `Backend` builds it: from task id,
            meta data, state, traceback and request.
    """

    def __init__(
        self, database: Database, build_row: Callable[..., Mapping[str, Any]]
    ) -> None:
        self._database = database
        self._build_row = build_row
        self._checked: WeakSet[Request] = WeakSet()

    def run(self) -> None:
        """Look at the running tasks again and again."""
        while True:
            time.sleep(INTERVAL_S)
            try:
                self.look()
            except RuntimeError:
                pass  # The main thread changed the set of requests meanwhile.
            except Exception as error:
                if not is_outage(error):
                    logger.warning("starts cannot be checked: %s", one_line(error))

    def look(self) -> None:
        """Write the missing starts of tasks that have run for a while."""
        before = time.time() - AFTER_S
        for request in list(active_requests):
            if request in self._checked or (request.time_start or before) >= before:
                continue
            if request.task.track_started:
                self._write_if_missing(request)
            self._checked.add(request)

    def _write_if_missing(self, request: Any) -> None:
        with self._database.connect() as connection:
            found = connection.execute(_STATUS, {"id": request.id}).first()
        # A retried task has the row of its last run.
        if found is not None and found.status != states.RETRY:
            return
        started_at = datetime.fromtimestamp(request.time_start, UTC)
        meta = {"pid": request.worker_pid, "hostname": request.hostname}
        row = self._build_row(request.id, meta, states.STARTED, None, request._context)
        dates = {"date_done": naive_utc(started_at), "started_at": started_at}
        write_start(self._database, {**row, **dates})


_STATUS = select(taskmeta.c.status).where(taskmeta.c.task_id == bindparam("id"))
