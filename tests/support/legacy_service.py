"""A service written for `cadasta-workertoolbox` 0.6.

Run it with `python legacy_service.py worker`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery, Task

from cadasta.workertoolbox.conf import Config, extract_followups, setup_app

app = Celery("old", set_as_current=False)
app.config_from_object(
    Config(
        QUEUES=("export", "msg"),
        PLATFORM_QUEUE_NAME="monitor",
        CHORD_UNLOCK_MAX_RETRIES=60,
        RESULT_DB_NAME=os.environ["OLD_DATABASE"],
        result_backend="workertoolbox+sqlite:///{0.RESULT_DB_NAME}",
        task_track_started=True,
    )
)


def note(word: str) -> None:
    """Append a line to the journal."""
    with open(os.environ["OLD_JOURNAL"], "a", encoding="utf-8") as journal:
        journal.write(f"{word}\n")


@app.task(name="export.project", bind=True)
def project(self: Task[..., Any]) -> None:
    """Pass the work and the tasks that follow it on to another task."""
    note("project")
    app.send_task("export.pack", args=["a folder"], **extract_followups(self))


@app.task(name="export.pack")
def pack(folder: str) -> str:
    """Pretend to pack a folder."""
    note("pack")
    if folder == "none":
        raise FileNotFoundError(folder)
    return f"{folder}, packed"


@app.task(name="msg.notify")
def notify(text: str) -> None:
    """Pretend to send a notification."""
    note(text)


if __name__ == "__main__":
    setup_app(app)
    app.start(sys.argv[1:])
