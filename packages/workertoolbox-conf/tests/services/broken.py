"""Services, each of which breaks one promise."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_init

from cadasta.workertoolbox.conf import Config


def _service(name: str, **settings: Any) -> Celery:
    app = Celery(name, set_as_current=False)
    app.config_from_object(Config(["export"], **settings))
    return app


#: A slip of the pen in the name of a queue.
typo = _service("typo", task_routes={"export.report": {"queue": "exprot"}})


@typo.task(name="export.report", shared=False)
def report() -> None:
    """Go to a queue that nobody consumes."""


#: Routes that take the place of the toolbox's.
rerouted = _service("rerouted")
rerouted.conf.task_routes = {"*": {"queue": "export"}}

#: Pickles, in one task and in what a worker accepts.
pickling = _service("pickling")
pickling.conf.accept_content = ["json", "pickle"]


@pickling.task(name="export.pickled", serializer="pickle", shared=False)
def pickled() -> None:
    """Be published as a pickle."""


#: A worker that takes the copies for work.
greedy = _service("greedy")


@worker_init.connect
def consume_everything(sender: Any, **_: Any) -> None:
    """Undo what the toolbox does, for one service."""
    if sender.app is greedy:
        queues = sender.app.amqp.queues
        queues.select_add(queues["platform.fifo"])


#: A task that fails where it should not.
failing = _service("failing")


@failing.task(name="export.fail", shared=False)
def fail() -> None:
    """Fail."""
    raise ValueError("out of paper")


#: An app without the toolbox.
plain = Celery("plain", set_as_current=False)
