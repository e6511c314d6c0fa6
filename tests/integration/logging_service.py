"""A service whose tasks log, fail and are lost: `celery -A logging_service`."""

from __future__ import annotations

import logging
import os
import time

from celery import Celery
from celery.utils.log import get_task_logger

from cadasta.workertoolbox.conf import Config

_task_logger = get_task_logger("tasks")
_library_logger = logging.getLogger("library")


def make_app() -> Celery:
    """Return the service's app, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("logging")
    app.config_from_object((Config.embedded if embedded else Config)(["export"]))
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

    return app


app = make_app()
