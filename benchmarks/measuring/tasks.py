"""An app of plain Celery whose tasks do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

#: The name of the task. It takes any arguments, also the results of a chord.
NOTHING = "nothing"


def make_app(settings: Mapping[str, Any]) -> Celery:
    """Return an app with the settings that all backends share, and more settings."""
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
