"""Services that each break one promise."""

from __future__ import annotations

from typing import Any

from celery import Celery, bootsteps

from cadasta.workertoolbox.conf import Config


def _service(name: str, **settings: Any) -> Celery:
    app = Celery(name, set_as_current=False)
    app.config_from_object(Config(["export"], **settings))
    return app


def _misspell(name: str, *_: Any, **__: Any) -> str | None:
    return "exprot" if name == "export.report" else None


#: A function misspells the name of a queue.
typo = _service("typo", task_routes=_misspell)


@typo.task(name="export.report", shared=False)
def report() -> None:
    """Do nothing; the route names a queue that is not declared."""


#: A route that is set later names a queue that is not declared.
rerouted = _service("rerouted")
rerouted.conf.task_routes = {"*": {"queue": "exprot"}}

#: One task uses pickle, and workers accept it.
pickling = _service("pickling")
pickling.conf.accept_content = ["json", "pickle"]


@pickling.task(name="export.pickled", serializer="pickle", shared=False)
def pickled() -> None:
    """Do nothing; the task is published with pickle."""


#: Its worker consumes the copies.
greedy = _service("greedy")


class ConsumeEverything(bootsteps.StartStopStep):
    """Make a worker consume the monitor queue too."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Add the queue to those that the worker consumes."""
        consumer.task_consumer.add_queue(consumer.app.amqp.queues["platform.fifo"])
        consumer.task_consumer.consume()


greedy.steps["consumer"].add(ConsumeEverything)

#: A task that should succeed fails.
failing = _service("failing")


@failing.task(name="export.fail", shared=False)
def fail() -> None:
    """Fail."""
    raise ValueError("out of paper")


#: An app without the toolbox.
plain = Celery("plain", set_as_current=False)
