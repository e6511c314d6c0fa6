"""A process that publishes workflows: `python -m faults.producer COUNT SEED`."""

from __future__ import annotations

import sys
from os import environ
from pathlib import Path
from random import Random
from typing import Any

from celery import Celery, chain, chord, group

from faults.fault_service import make_service
from faults.journal import FOLDER, Journal
from support.delivery_counts import workflow_ids
from support.polling import wait_until

#: Seconds to wait for permission to publish: longer than the faults in between.
TIMEOUT_S = 600.0


def main(count: int, seed: int) -> None:
    """Publish random workflows that together have at least `count` tasks."""
    app, journal, random = make_service(), Journal(Path(environ[FOLDER])), Random(seed)
    announced = 0
    while announced < count:
        wait_until(
            lambda: journal.published.total() < journal.limit, timeout_s=TIMEOUT_S
        )
        ids = workflow_ids(_workflow(app, random).apply_async())
        for id in ids:
            journal.announce(id)
        announced += len(ids)
    app.close()


def _workflow(app: Celery, random: Random) -> Any:
    def task(name: str = "count") -> Any:
        queue = {"retry": "export", "replace": "msg"}.get(name)
        return app.tasks[f"{queue or random.choice(['export', 'msg'])}.{name}"].s()

    def step() -> Any:
        return task("retry" if random.random() < 0.1 else "count")

    match random.choice(["chain", "group", "chord", "chord in a chain", "replace"]):
        case "chain":
            return chain(*(step() for _ in range(random.randint(2, 5))))
        case "group":
            return group(step() for _ in range(random.randint(2, 6)))
        case "chord":
            return chord([step() for _ in range(random.randint(2, 6))], task())
        case "replace":
            return task("replace")
    header = [chain(step(), step()), step(), step()]
    return chain(step(), chord(header, task()), step())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
