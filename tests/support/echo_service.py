"""A small service with one task: `celery -A echo_service`."""

from __future__ import annotations

import os

from celery import Celery

from cadasta.workertoolbox.conf import Config


def make_app() -> Celery:
    """Return the service's app, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("echo")
    configure = Config.embedded if embedded else Config
    app.config_from_object(configure(["export", "msg"]))

    @app.task(name="export.echo", shared=False)
    def echo(value: object) -> object:
        return value

    return app


app = make_app()
