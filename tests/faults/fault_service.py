"""The service of the fleet: `celery -A faults.fault_service`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.signals import (
    after_task_publish,
    before_task_publish,
    task_prerun,
    task_received,
)

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results._backend import chords
from faults.journal import FOLDER, Entry, Journal

#: Retries of a publish, up to a second apart. Celery's default of three retries within
#: a second is shorter than a broker takes to come back, and if the next step of a chain
#: cannot be published, it is lost.
PUBLISH_RETRY_POLICY = {
    "max_retries": 120,
    "interval_start": 0.1,
    "interval_step": 0.2,
    "interval_max": 1.0,
}

#: Retries of a database operation. If a producer cannot store the size of a chord, it
#: raises an error, and the body never starts.
DATABASE_RETRIES = 100

#: Seconds until another process publishes the body of a chord, instead of 30. A body
#: that takes longer to publish is published twice, with the same id.
TAKEOVER_S = 10.0


def make_service() -> Celery:
    """Return an app with tasks that do not fail by themselves."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("faults")
    app.config_from_object(
        (Config.embedded if embedded else Config)(
            ["export", "msg"],
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_publish_retry_policy=PUBLISH_RETRY_POLICY,
            result_backend_max_retries=DATABASE_RETRIES,
        )
    )
    for queue in ("export", "msg"):

        @app.task(name=f"{queue}.count", shared=False)
        def count(number: int | list[int] = 0) -> int:
            return 1 + (sum(number) if isinstance(number, list) else number)

    @app.task(name="export.retry", bind=True, shared=False)
    def retry(self: Task[Any, Any], number: int = 0) -> int:
        if not self.request.retries:
            raise self.retry(countdown=0)
        return 1 + number

    @app.task(name="msg.replace", bind=True, shared=False)
    def replace(self: Task[Any, Any]) -> Any:
        return self.replace(app.tasks["export.count"].s())

    return app


@before_task_publish.connect
def _record_attempted(**signal: Any) -> None:
    _journal().write("attempted", _message(signal))


@after_task_publish.connect
def _record_published(**signal: Any) -> None:
    _journal().write("published", _message(signal))


@task_received.connect
def _record_delivered(request: Any, **_: Any) -> None:
    queue = request.delivery_info["routing_key"]
    _journal().write("delivered", _entry(request.request_dict, queue))


@task_prerun.connect
def _record_executed(task: Task[Any, Any], **_: Any) -> None:
    request: Any = task.request
    queue = request.delivery_info["routing_key"]
    _journal().write("executed", _entry(vars(request), queue))


def _message(signal: dict[str, Any]) -> Entry:
    return _entry(signal["headers"], signal["routing_key"])


def _entry(headers: dict[str, Any], queue: str) -> Entry:
    replaced = headers.get("replaced_task_nesting") or 0
    return Entry(headers["id"], replaced, headers["retries"], queue)


def _journal() -> Journal:
    return Journal(Path(os.environ[FOLDER]))


# The process that injects the faults imports this module without the variable.
if FOLDER in os.environ:
    chords.TAKEOVER_S = TAKEOVER_S
    app = make_service()
