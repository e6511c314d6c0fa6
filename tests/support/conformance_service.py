"""A service that records each run of a task: `celery -A conformance_service`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import task_prerun
from kombu import Exchange, Queue
from kombu.transport.virtual import Transport

from cadasta.workertoolbox.conf import Config

#: The variable with the path of the file that gets a line for each run of a task.
EXECUTIONS = "CONFORMANCE_EXECUTIONS"

#: The variable with the topology: a key of `TOPOLOGIES`.
TOPOLOGY = "CONFORMANCE_TOPOLOGY"

_CELERY, _WORK = Exchange("celery", "direct"), Exchange("work", "topic")
_NEWS, _DEAD = Exchange("news", "fanout"), Exchange("dead", "topic")

#: The queues and routes of each topology: that of the toolbox, Celery's default, in
#: which old bindings of several queues may have one key, and a mixed one.
TOPOLOGIES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "names": (["export", "msg"], {}),
    "direct": (
        [
            Queue("celery", _CELERY, "celery"),
            Queue("export", _CELERY, "celery"),
            Queue("msg", _CELERY, "messages"),
            Queue("late", queue_arguments={"x-message-ttl": 600_000}),
        ],
        {"export.*": {"queue": "export", "routing_key": "any"}, "msg.*": "msg"},
    ),
    "mixed": (
        [
            Queue("export", _WORK, "export.#"),
            Queue("msg", _WORK, "#.msg"),
            Queue("mail", _NEWS),
            Queue("push", _NEWS),
            Queue("urgent", _CELERY, "urgent", queue_arguments={"x-max-priority": 9}),
            Queue("strict", queue_arguments={"x-dead-letter-exchange": _DEAD.name}),
            Queue("dead", _DEAD, "#"),
        ],
        {
            "export.*": {"queue": "export", "routing_key": "export.now"},
            "msg.*": {"exchange": "work", "routing_key": "new.msg"},
        },
    ),
}


def make_app(name: str = "conformance") -> Celery:
    """Return an app without tasks, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery(name)
    configure = Config.embedded if embedded else Config
    queues, routes = TOPOLOGIES[os.environ.get(TOPOLOGY, "names")]
    app.config_from_object(configure(queues, task_routes=routes))
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

    @app.task(name="export.reject", acks_late=True, shared=False)
    def reject() -> None:
        raise Reject("not here", requeue=False)

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
