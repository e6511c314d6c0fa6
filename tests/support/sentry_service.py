"""A service whose tasks fail in many ways: `celery -A sentry_service`."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any, NoReturn

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from cadasta.workertoolbox.conf import Config, sentry_options

_logger = logging.getLogger("library")


def make_app() -> Celery:
    """Return the service's app, for the broker and database of the environment."""
    app = Celery("sentry")
    app.config_from_object(Config.embedded(["export"]))
    # Seconds that Celery waits for the result of a task whose process ended.
    app.conf.worker_lost_wait = 0.5
    app.conf.beat_schedule = {
        "tick": {"task": "export.work", "schedule": 1.0},
        "lost": {
            "task": "export.fail",
            "schedule": 1.0,
            "kwargs": {"password": os.environ.get("PASSWORD")},
            "options": {"queue": "nowhere"},
        },
    }

    @app.task(name="export.work", shared=False)
    def work() -> None:
        _logger.info("it works")

    @app.task(name="export.fail", shared=False)
    def fail(password: str) -> NoReturn:
        copied = password
        raise LookupError(f"nothing of {len(copied)} letters")

    @app.task(name="export.fail_in_turn", shared=False, bind=True, max_retries=1)
    def fail_in_turn(self: Task[Any, Any], password: str) -> NoReturn:
        try:
            raise LookupError("again")
        except LookupError as error:
            raise self.retry(exc=error, countdown=0) from error

    @app.task(name="export.ignore", shared=False)
    def ignore() -> NoReturn:
        raise Ignore

    @app.task(name="export.reject", shared=False)
    def reject() -> NoReturn:
        raise Reject("no", requeue=False)

    @app.task(name="export.log", shared=False)
    def log(password: str) -> None:
        _logger.error("no answer of amqp://me:%s@mq//", password)

    @app.task(name="export.hang", shared=False, time_limit=1)
    def hang(password: str) -> None:
        time.sleep(60)

    @app.task(name="export.vanish", shared=False)
    def vanish(password: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(
        name="export.vanish_in_turn",
        shared=False,
        acks_late=True,
        retry_on_worker_lost=True,
        max_retries=1,
        default_retry_delay=0,
    )
    def vanish_in_turn(password: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    return app


if "OWN_DSN" in os.environ:
    import sentry_sdk

    options = sentry_options() if "OWN_OPTIONS" in os.environ else {}
    sentry_sdk.init(os.environ["OWN_DSN"], release="own", **options)

app = make_app()
