"""A service whose tasks return results: `celery -A result_service`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from sqlalchemy import text

from cadasta.workertoolbox.conf import Config

folder_broker = "WORKERTOOLBOX_BROKER_URL" not in os.environ
app = Celery("result_service")
app.config_from_object((Config.embedded if folder_broker else Config)(["export"]))


@app.task(name="export.echo")
def echo(value: object) -> object:
    return value


@app.task(name="export.fail")
def fail() -> None:
    raise KeyError("no")


@app.task(name="export.large")
def large(size: int) -> str:
    return "x" * size


@app.task(name="export.total")
def total(values: list[int]) -> int:
    return sum(values)


@app.task(name="export.connection")
def connection() -> list[Any]:
    """Return the ids of this process and of its server process in PostgreSQL."""
    backend: Any = app.backend
    with backend.database.connect() as connection:
        return [os.getpid(), connection.scalar(text("SELECT pg_backend_pid()"))]
