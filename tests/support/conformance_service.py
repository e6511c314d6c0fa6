"""A service that records each run of a task: `celery -A conformance_service`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task
from celery.signals import task_prerun
from kombu.transport.virtual import Transport

from cadasta.workertoolbox.conf import Config

#: The variable with the path of the file that gets a line for each run of a task.
EXECUTIONS = "CONFORMANCE_EXECUTIONS"


def make_app(name: str = "conformance") -> Celery:
    """Return an app without tasks, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery(name)
    configure = Config.embedded if embedded else Config
    app.config_from_object(configure(["export", "msg"]))
    return app


def make_service() -> Celery:
    """Return an app with the tasks below, and a beat that ticks every second."""
    app = make_app()
    app.conf.beat_schedule = {
        "tick": {"task": "export.echo", "schedule": 1.0, "args": ["tick"]}
    }

    @app.task(name="export.echo", shared=False)
    def echo(value: object) -> object:
        return value

    @app.task(name="msg.total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="export.retry", bind=True, shared=False)
    def retry(self: Task[Any, Any], countdowns_s: list[int]) -> int:
        done = self.request.retries
        if done < len(countdowns_s):
            raise self.retry(countdown=countdowns_s[done], max_retries=done + 1)
        return done

    return app


@task_prerun.connect
def record_run(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    """Append `<id> <retries>` to the file before a task runs."""
    file = os.environ.get(EXECUTIONS)
    if file is None or task.name.startswith("celery."):
        return
    # One call of `write` with O_APPEND, so that processes do not mix their lines.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{task_id} {task.request.retries}\n".encode())
    finally:
        os.close(descriptor)


# The test process sets the variable only after it has imported this module.
if EXECUTIONS in os.environ:
    # A second by default, for which kombu's SQLAlchemy transport has no option.
    Transport.polling_interval = 0.1
    app = make_service()
