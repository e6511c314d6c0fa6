"""A service whose tasks log, fail and get lost: `celery -A logging_service`."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

from celery import Celery, Task
from celery.utils.log import get_task_logger

from cadasta.workertoolbox.conf import Config

_task_logger = get_task_logger("tasks")
_library_logger = logging.getLogger("library")

#: The number of tasks that wait for each other at the barrier.
BARRIER_PARTIES = 4

#: Longest wait at the barrier, in seconds.
BARRIER_TIMEOUT_S = 60.0


def make_app() -> Celery:
    """Return the service's app, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("logging")
    app.config_from_object((Config.embedded if embedded else Config)(["export"]))
    # Seconds that Celery waits for the result of a task whose process ended.
    app.conf.worker_lost_wait = 0.5
    app.conf.beat_schedule = {"tick": {"task": "export.work", "schedule": 1.0}}

    @app.task(name="export.work", shared=False)
    def work(then: str | None = None, **_: object) -> None:
        _task_logger.info("one\ntwo", extra={"odd": {("a", 1): float("nan")}})
        _library_logger.warning("of a library")
        print("printed")
        if then is not None:
            work.delay()

    @app.task(name="export.fail", shared=False)
    def fail(*_: object, **__: object) -> None:
        raise LookupError("it fails")

    @app.task(name="export.hang", shared=False, time_limit=1)
    def hang() -> None:
        time.sleep(60)

    @app.task(name="export.vanish", shared=False)
    def vanish() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    barrier = threading.Barrier(BARRIER_PARTIES)

    @app.task(name="export.meet", shared=False, bind=True)
    def meet(self: Task[Any, Any]) -> None:
        _task_logger.info("%s comes", self.request.id)
        barrier.wait(BARRIER_TIMEOUT_S)
        _library_logger.warning("%s goes", self.request.id)
        barrier.wait(BARRIER_TIMEOUT_S)

    return app


app = make_app()
