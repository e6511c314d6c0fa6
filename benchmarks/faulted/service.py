"""The service of each fleet: `celery -A faulted.service`.

The code of the last release runs it too, so it uses only what that release has.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

from faulted.journal import RUN, record

#: The variable with the settings of a fleet of plain Celery, as JSON.
PLAIN = "BENCHMARK_SETTINGS"

#: The variable with the folder of the journal.
FOLDER = "BENCHMARK_FOLDER"

#: The name and the queue of the task.
NAME = "export.note"
QUEUE = "export"

#: Seconds that a task takes: with two processes, a worker runs at most 40 in a second.
TASK_S = 0.05

#: What plain Celery gets besides its defaults, so that the fleets can be compared. The
#: toolbox retries a task whose process was killed where Celery rejects its message.
SHARED = {
    "accept_content": ["json"],
    "broker_connection_retry_on_startup": True,
    "result_extended": True,
    "task_acks_late": True,
    "task_default_queue": QUEUE,
    "task_reject_on_worker_lost": True,
    "task_track_started": True,
}


def make_app() -> Celery:
    """Return the app of a fleet of the toolbox, or of one of plain Celery."""
    app = Celery("chaos")
    if settings := os.environ.get(PLAIN):
        app.conf.update(SHARED, **json.loads(settings))
    else:
        from cadasta.workertoolbox.conf import Config

        app.config_from_object(Config([QUEUE], task_acks_late=True))

    @app.task(name=NAME, bind=True, shared=False)
    def note(self: Any, number: int) -> int:
        record(Path(os.environ[FOLDER]), RUN, self.request.id)
        time.sleep(TASK_S)
        return number

    return app


if FOLDER in os.environ:
    app = make_app()
