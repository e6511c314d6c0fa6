"""A service whose tasks return results: `celery -A result_service`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, chain, chord, group
from celery.exceptions import Ignore, Reject
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


@app.task(name="export.hand_on", bind=True)
def hand_on(self: Any, path: str) -> Any:
    """Wait until a file exists, and replace this task with another one."""
    wait.run(path)
    return self.replace(echo.s(42))


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


@app.task(name="export.end", bind=True)
def end(self: Any, how: str) -> Any:
    """Raise `Ignore` or `Reject`, in one of the ways in which tasks do so."""
    if how == "state":
        self.update_state(state="SKIPPED", meta="done before")
    elif how == "failure":
        self.update_state(state="FAILURE", meta={"exc_type": "KeyError"})
    elif how == "success":
        self.backend.store_result(self.request.id, 7, "SUCCESS", request=self.request)
    elif how == "retry" and not self.request.retries:
        self.retry(throw=False, countdown=LATER_S)
    elif how == "publish" and not self.request.retries:
        self.apply_async([how], task_id=self.request.id, retries=1, countdown=LATER_S)
    elif how in ("requeue", "reject"):
        raise Reject("not here", requeue=how == "requeue")
    elif how in REPLACEMENTS:
        signature = REPLACEMENTS[how]()
        try:
            return self.replace(signature)
        except Ignore as error:
            raise Ignore("handed on") from error
    if self.request.retries:
        return "again"
    raise Ignore("not needed")


run_end: Any = end.run
end_ignored = app.task(name="export.end_ignored", bind=True, ignore_result=True)(
    run_end.__func__
)

#: Seconds after which a task that goes on under its id does so.
LATER_S = 2

REPLACEMENTS: dict[str, Callable[[], Any]] = {
    "task": lambda: echo.si("again").set(countdown=LATER_S),
    "chain": lambda: chain(echo.si(1).set(countdown=LATER_S), echo.si("again")),
    "group": lambda: group(echo.si("again").set(countdown=LATER_S), echo.si(2)),
    "chord": lambda: chord([echo.si(1).set(countdown=LATER_S)], echo.si("again")),
}
