"""An app that uses nothing but its result backend."""

from __future__ import annotations

from celery import Celery
from celery.app.task import Context

#: The request of a task, with everything that an extended result stores.
REQUEST = Context(
    id="1",
    task="export.project",
    args=["a"],
    kwargs={"b": 1},
    hostname="worker@host",
    retries=1,
    delivery_info={"routing_key": "export"},
    root_id="0",
    parent_id="0",
)


def app_with_backend(result_backend: str) -> Celery:
    """Return an app that stores extended results in this result backend."""
    app = Celery(
        "tests", broker="memory://", backend=result_backend, set_as_current=False
    )
    app.conf.result_extended = True
    return app


def sqlalchemy_url(result_backend: str) -> str:
    """Return the SQLAlchemy URL of the database behind a result backend of ours."""
    return result_backend.removeprefix("workertoolbox+")
