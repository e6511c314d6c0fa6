"""A service configured by `Config` alone: `python profile_service.py worker`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task

from cadasta.workertoolbox.conf import Config

#: The variable with the keyword arguments of `Config`, in JSON.
SETTINGS = "PROFILE_SERVICE_SETTINGS"

#: The variable with the path of the file that gets a line for each run of a task.
JOURNAL = "PROFILE_SERVICE_JOURNAL"


def make_app(settings: Mapping[str, Any]) -> Celery:
    """Return the service's app.

    Args:
        settings: Keyword arguments of `Config`.
    """
    app = Celery("profiles", set_as_current=False)
    app.config_from_object(Config(["export"], **{"result_backend": None, **settings}))
    app.task(name="export.note", bind=True, shared=False)(_note)
    app.task(name="export.hang", bind=True, shared=False)(_hang)
    app.task(
        name="export.die", bind=True, shared=False, max_retries=1, default_retry_delay=0
    )(_die)
    return app


def _note(self: Task[..., Any]) -> None:
    with open(os.environ[JOURNAL], "a", encoding="utf-8") as journal:
        journal.write(f"{self.request.id}\n")


def _hang(self: Task[..., Any]) -> None:
    _note(self)
    signal.pause()


def _die(self: Task[..., Any]) -> None:
    _note(self)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    make_app(json.loads(os.environ[SETTINGS])).start(sys.argv[1:])
