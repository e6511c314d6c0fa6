"""An app whose tasks do nothing, plain Celery but for its result backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

#: The name of the task, which takes any arguments, the results of a chord too.
NOTHING = "nothing"


def make_app(settings: Mapping[str, Any]) -> Celery:
    """Return an app with settings that all backends share, and some of its own."""
    app = Celery("benchmark", set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        result_extended=True,
        result_serializer="json",
        task_serializer="json",
        task_track_started=True,
    )
    app.conf.update(settings)
    app.task(name=NOTHING)(_nothing)
    return app


def _nothing(*arguments: object) -> None:
    pass
