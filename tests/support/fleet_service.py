"""A fleet with its own queues, with or without the toolbox.

`python fleet_service.py worker …` and `beat …` take the arguments of `celery`;
`python fleet_service.py send` sends a task to each queue, then one with an ETA that is
retried once, and prints their ids.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from celery import Celery, Task
from celery.bin.celery import celery
from kombu import Exchange, Queue

#: The variable with Celery's settings, in JSON.
SETTINGS = "FLEET_SERVICE_SETTINGS"

#: The variable that is set if the fleet has adopted the toolbox.
TRACKED = "FLEET_SERVICE_TRACKED"

#: The variable with the path of the file that gets a line for each run of a task.
JOURNAL = "FLEET_SERVICE_JOURNAL"

_MEDIA = Exchange("media", type="topic")

#: Queues with exchanges and arguments of their own.
QUEUES = (
    Queue("celery", Exchange("celery"), "celery"),
    # Celery gives both the same key in the default exchange.
    Queue("mail.daily", queue_arguments={"x-max-priority": 5}),
    Queue("old"),
    Queue("video", _MEDIA, "media.#"),
)

#: Options of the tasks that `send` sends.
SENT: tuple[dict[str, Any], ...] = (
    {},
    {"queue": "mail.daily"},
    {"queue": "old"},
    {"queue": "video", "routing_key": "media.video"},
)


def make_app() -> Celery:
    """Return the app of the fleet, as the environment describes it."""
    app = Celery("fleet")
    app.conf.update(
        task_queues=QUEUES,
        beat_schedule={"tick": {"task": "note", "schedule": 0.5}},
        **json.loads(os.environ[SETTINGS]),
    )
    if TRACKED in os.environ:
        from cadasta.workertoolbox.routing import track

        track(app)
    elif "cadasta.workertoolbox.routing" in sys.modules:
        # Celery's command line imports the commands of results, which change nothing.
        raise SystemExit("the transports of the toolbox are imported")
    app.task(name="note", bind=True, shared=False)(_note)
    app.task(name="retried", bind=True, shared=False)(_retried)
    return app


def _note(self: Task[..., str]) -> str:
    with open(os.environ[JOURNAL], "a", encoding="utf-8") as journal:
        journal.write(f"{self.request.id}\n")
    return f"ran {self.request.id}"


def _retried(self: Task[..., str]) -> str:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return _note(self)


if __name__ == "__main__":
    app = make_app()
    if sys.argv[1] == "send":
        ids = [app.send_task("note", **each).id for each in SENT]
        print(json.dumps([*ids, app.send_task("retried", countdown=1).id]))
    else:
        celery.main(["-A", app, *sys.argv[1:]])  # type: ignore[list-item]
