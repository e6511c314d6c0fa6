"""A service whose tasks fail until a file exists: `celery -A rerun_service`.

A process of it can be killed at a publish, by the variable `RERUN_SERVICE_KILL`.
"""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import after_task_publish, before_task_publish

from cadasta.workertoolbox.conf import Config

#: The variable with the path of a folder. Tasks succeed when it has the file
#: `repaired`, and write a line for each run to a file with their name. `export.good`
#: always succeeds.
FOLDER = "RERUN_SERVICE_FOLDER"

#: The variable that kills the process: `before:N` or `after:N`, with the number of the
#: publish.
KILL = "RERUN_SERVICE_KILL"


def make_app() -> Celery:
    """Return the service's app, for the broker and database of the environment."""
    embedded = "WORKERTOOLBOX_BROKER_URL" not in os.environ
    app = Celery("rerun")
    configure = Config.embedded if embedded else Config
    app.config_from_object(configure(["export"]))

    for name in ("export.check", "export.step", "export.good"):
        app.task(name=name, bind=True, shared=False)(_check)
    return app


def _check(self: Any, *args: Any, **kwargs: Any) -> str:
    folder = Path(os.environ[FOLDER])
    is_good = self.name == "export.good"
    if not is_good and not folder.joinpath("repaired").exists():
        raise ConnectionError("the server is down")
    with folder.joinpath(self.name).open("a", encoding="utf-8") as runs:
        runs.write(f"{self.request.id} {args!r}\n")
    return repr(args)


def _kill_at(moment: str, number: int) -> None:
    numbers = itertools.count(1)

    def kill(**_: object) -> None:
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    signals = {"before": before_task_publish, "after": after_task_publish}
    signals[moment].connect(kill, weak=False)


if given := os.environ.get(KILL):
    _moment, _, _number = given.partition(":")
    _kill_at(_moment, int(_number))

if FOLDER in os.environ:
    app = make_app()
