"""A service whose tasks return results: `celery -A result_service`."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
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


@app.task(name="export.match", ignore_result=False)
def match(length: int) -> None:
    """Hold Python's global lock: for 0, not at all, and for 24, some seconds."""
    re.match("(a*)*b", "a" * length)


@app.task(name="export.match_ignored", ignore_result=True)
def match_ignored(length: int) -> None:
    re.match("(a*)*b", "a" * length)


@app.task(name="export.wait")
def wait(path: str) -> None:
    """Wait until a file exists."""
    while not Path(path).exists():
        time.sleep(0.05)


@app.task(name="export.progress", bind=True)
def progress(self: Any, state: str, path: str) -> None:
    """Store a custom state again and again until a file exists."""
    while not Path(path).exists():
        self.update_state(state=state, meta={"status": "half"})
        time.sleep(0.05)


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
