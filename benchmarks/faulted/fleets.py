"""The processes of a fleet, and where its results are found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from sqlalchemy import text

from faulted.producer import STOP
from faulted.service import FOLDER, PLAIN
from faults.restartable import RestartableProcess
from support.processes import Process, running
from upgrades.last_release import Release

if TYPE_CHECKING:
    from faulted.environment import Database

#: The fleets, by the names that are printed: the toolbox, and plain Celery with its
#: backend for databases or for Redis.
OURS = "toolbox"
DATABASE = "Celery's database"
REDIS = "Redis"

#: Where the modules of the fleets are.
MODULES = Path(__file__).parents[1]

CELERY = (sys.executable, "-m", "celery", "-A", "faulted.service")

WORKER = (
    *("worker", "-Q", "export", "-c", "2", "-l", "INFO"),
    *("--without-gossip", "--without-mingle"),
)

#: Archive soon, so that what archiving writes is part of the figures.
ARCHIVE_AFTER = {"WORKERTOOLBOX_ARCHIVE_AFTER": "3s"}

#: The query for the results of some tasks, by fleet; for the toolbox, of those whose
#: message a monitor has stored too.
RESULTS = {
    OURS: "SELECT id FROM workertoolbox_tasks"
    " WHERE id = ANY(:ids) AND status = 'SUCCESS' AND tracked",
    DATABASE: "SELECT task_id FROM celery_taskmeta"
    " WHERE task_id = ANY(:ids) AND status = 'SUCCESS'",
}


@dataclass(frozen=True)
class Fleet:
    """A producer, a worker, and a monitor if the fleet is one of the toolbox.

    Attributes:
        name: One of the names above.
        folder: The folder of its journal and of its logs.
        settings: Environment variables of the toolbox, or settings of plain Celery.
        database: Its database; None with Redis.
        processes: Those that run, by name. One that ends by itself is started again.
        ended: The names of those that have ended by themselves.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    database: Database | None
    processes: dict[str, RestartableProcess] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    def start(self, rate: float, *, release: Release | None = None) -> None:
        """Start the fleet.

        Args:
            rate: Tasks that the producer publishes in a second.
            release: Another release of the toolbox, which the processes run.
        """
        self.start_worker("worker", release=release)
        if self.name == OURS:
            self.start_monitor("monitor", release=release)
        self.start_producer("producer", rate, release=release)

    def start_worker(self, name: str, *, release: Release | None = None) -> None:
        """Start a worker of two processes."""
        command = [*CELERY, *WORKER, "-n", f"{name}@localhost"]
        self._start(name, command, release)

    def start_monitor(self, name: str, *, release: Release | None = None) -> None:
        """Start a monitor, which also archives."""
        self._start(name, [*CELERY, "tasks", "monitor"], release)

    def start_producer(
        self, name: str, rate: float, *, release: Release | None = None
    ) -> None:
        """Start a producer."""
        command = [sys.executable, "-m", "faulted.producer", str(rate)]
        self._start(name, command, release)

    def _start(
        self, name: str, command: Sequence[str], release: Release | None
    ) -> None:
        variables = self._variables(release)

        def run() -> AbstractContextManager[Process]:
            return running(
                command,
                folder=self.folder,
                environment=variables,
                name=name,
                print_output=False,
            )

        self.processes[name] = RestartableProcess(run, may_end_with=("",))
        self.processes[name].start()

    def _variables(self, release: Release | None) -> dict[str, str]:
        if self.name == OURS:
            own = {**self.settings, **({} if release else ARCHIVE_AFTER)}
        else:
            own = {PLAIN: json.dumps(self.settings)}
        sources = release.environment["PYTHONPATH"] if release else None
        found = (sources, str(MODULES), os.environ.get("PYTHONPATH"))
        path = os.pathsep.join(filter(None, found))
        return {**own, FOLDER: str(self.folder), "PYTHONPATH": path}

    def supervise(self) -> None:
        """Start each process again that has ended by itself, as a supervisor does."""
        stopping = self.folder.joinpath(STOP).exists()
        for name, process in self.processes.items():
            if stopping and name.startswith("producer"):
                continue
            if process.supervise():
                self.ended.append(name)

    def stop_producers(self) -> None:
        """Let the producers end after the task that they are publishing."""
        self.folder.joinpath(STOP).touch()

    def find_finished(self, ids: list[str]) -> set[str]:
        """Return those of some tasks whose result their backend shows.

        Raises:
            DBAPIError: The database cannot be read.
        """
        if self.database is None:
            with redis.Redis.from_url(self.settings["result_backend"]) as client:
                values: Any = client.mget([f"celery-task-meta-{id}" for id in ids])
            pairs = zip(ids, values, strict=True)
            return {id for id, value in pairs if value and b'"SUCCESS"' in value}
        with self.database.engine.connect() as connection:
            found = connection.execute(text(RESULTS[self.name]), {"ids": ids})
            return set(found.scalars())

    def kill(self) -> None:
        """End every process at once."""
        for process in self.processes.values():
            with suppress(ChildProcessError):
                process.process.kill()
            process.close()
