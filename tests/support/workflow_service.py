"""A running `chord_service` with a worker and a monitor, and what `tasks` shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.results import Task, TaskStore
from support.chord_harness import (
    CELERY,
    SHARED_QUEUES,
    TIMEOUT_S,
    ChordHarness,
    open_chord_harness,
)
from support.polling import wait_until
from support.processes import Process, running
from support.task_commands import call_tasks_command


@dataclass
class WorkflowService:
    """The service on one broker, with a worker and a monitor.

    Attributes:
        chords: The service, and what its tasks did.
        store: The store on the database.
        worker: The worker's process.
        monitor: The monitor's process.
    """

    chords: ChordHarness
    store: TaskStore
    worker: Process
    monitor: Process

    @property
    def app(self) -> Celery:
        """The app in the test process."""
        return self.chords.app

    def signature(self, name: str, *args: object, **kwargs: object) -> Any:
        """Return a signature of a task of the service, by its name without a prefix."""
        return self.app.tasks[f"export.{name}"].s(*args, **kwargs)

    def ended(self, root_id: str, *, size: int) -> dict[str, Task]:
        """Wait until a workflow has a number of tasks that have all ended.

        Returns:
            The tasks by name; tasks of the same name have a number after it.
        """

        def check() -> list[Task]:
            tasks = [*self.store.workflow(root_id)]
            shown = [(task.name, task.status) for task in tasks]
            assert len(tasks) == size, shown
            assert all(task.finished_at and task.tracked for task in tasks), shown
            return tasks

        return by_name(wait_until(check, timeout_s=TIMEOUT_S))

    def command(self, *words: str) -> str:
        """Run a command of `tasks` in this process, and return its output."""
        return call_tasks_command(self.app, *words)

    def show(self, id: str) -> list[dict[str, Any]]:
        """Return what `tasks show --json` prints."""
        return [
            json.loads(line) for line in self.command("show", id, "--json").splitlines()
        ]


def by_name(tasks: list[Task]) -> dict[str, Task]:
    """Return tasks by name, numbered from the second of each name on."""
    named: dict[str, Task] = {}
    for task in tasks:
        name = str(task.name).removeprefix("export.")
        same = sum(each.partition("#")[0] == name for each in named)
        named[f"{name}#{same + 1}" if same else name] = task
    return named


@contextmanager
def run_workflow_service(
    request: pytest.FixtureRequest, folder: Path
) -> Iterator[WorkflowService]:
    """Yield the service with a worker and a monitor.

    Args:
        request: Its parameter is the name of the broker.
        folder: An empty folder.
    """
    with open_chord_harness(request, folder) as chords:
        environment = chords.broker.environment
        monitor = [*CELERY, "tasks", "monitor"]
        with (
            chords.worker("-c", "2", queues=SHARED_QUEUES) as worker,
            running(
                monitor, folder=folder, environment=environment, name="monitor"
            ) as m,
            TaskStore(chords.app.conf.result_backend) as store,
        ):
            m.wait_for("copying tasks", timeout_s=TIMEOUT_S)
            yield WorkflowService(chords, store, worker, m)
