"""A service whose tasks receive secrets: `celery -A secrets_service`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task

from cadasta.workertoolbox.conf import Config


def make_app() -> Celery:
    """Return the service's app, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("secrets")
    app.config_from_object((Config.embedded if embedded else Config)(["export"]))

    @app.task(name="export.pay", shared=False, bind=True, default_retry_delay=0)
    def pay(self: Task[Any, Any], /, *args: object, **kwargs: object) -> None:
        if not self.request.retries:
            raise self.retry()

    @app.task(name="export.login", shared=False)
    def login(user: str, password: str) -> str:
        if user == "nobody":
            raise ValueError(f"{password!r} is wrong for {user}")
        return f"{user} has {password}"

    return app


app = make_app()
