"""The upgrade of a running fleet, step by step.

Monitors, workers and producers of the last release work while the database is upgraded.
Those of this release join them, and tasks move to the history. Then the last release
stops, and the upgrade is finished.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import Connection, Engine, create_engine, event

from cadasta.workertoolbox.results import SchemaOutdated, TaskStore, upgrade
from cadasta.workertoolbox.results._database.schema import HEAD_REVISION
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from servers.access import BrokerServer
from servers.postgresql import PostgreSQL
from support.brokers import result_backend_url, server_broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, Process, running
from support.statements import execute, fetch
from upgrades import old_history
from upgrades.last_release import Release, check_out_last_release
from upgrades.probe import Probe, probing
from upgrades.verification import all_ended, assert_moved, assert_published

#: Maximum wait in seconds for an action of a fleet that takes some seconds.
TIMEOUT_S = 120.0

#: Minimum number of tasks that each producer publishes in each phase.
PER_PHASE = 20

WORKER = (
    *("worker", "-Q", "export", "-c", "2", "-l", "INFO"),
    *("--without-gossip", "--without-mingle"),
)

#: Seconds below which a transaction has moved few tasks, or none.
SHORT_S = 0.05

#: Variables for this release, which is the installed one.
THIS: Mapping[str, str] = {}

#: With this setting, a worker that cannot store a result returns its task to the queue.
LATE = {"WORKERTOOLBOX_TASK_ACKS_LATE": "true"}

#: Tasks that ended before the upgrade and are not archived.
LEFT = """
SELECT 1 FROM shown_before JOIN celery_taskmeta ON task_id = shown_before.id
WHERE finished_at IS NOT NULL AND archived_at IS NULL LIMIT 1
"""

LONG_AGO = "UPDATE workertoolbox_watermark SET seen_at = now() - interval '1 hour'"

TABLES_OF_EARLIER_RELEASES = """
SELECT relname FROM pg_class WHERE relname IN (
    'workertoolbox_queued', 'workertoolbox_untracked', 'workertoolbox_watermark',
    'ix_workertoolbox_result_worker'
)
"""


@dataclass(frozen=True)
class Fleet:
    """Processes of the service `result_service`, of either release.

    Attributes:
        environment: Variables with the broker and the database.
        database: The SQLAlchemy URL of the database.
        folder: Receives the logs, and the ids of published tasks.
    """

    environment: Mapping[str, str]
    database: str
    folder: Path

    def run(
        self, name: str, *words: str, release: Mapping[str, str]
    ) -> AbstractContextManager[Process]:
        """Run one of Celery's commands until the block ends."""
        celery = ("-m", "celery", "-A", "result_service", "--workdir", SERVICE_FOLDER)
        environment = {**self.environment, **release}
        return running(
            [sys.executable, *celery, *words],
            folder=self.folder,
            environment=environment,
            name=name,
        )

    def producer(
        self, name: str, *, release: Mapping[str, str]
    ) -> AbstractContextManager[Process]:
        """Run a producer until the block ends, or `stop_producers` is called."""
        program = Path(__file__).with_name("producer.py")
        found = (
            release.get("PYTHONPATH"),
            str(SERVICE_FOLDER.parent),
            os.environ.get("PYTHONPATH"),
        )
        path = {"PYTHONPATH": ":".join(filter(None, found))}
        return running(
            [sys.executable, program, self.folder / f"{name}.ids", self._stop],
            folder=self.folder,
            environment={**self.environment, **path},
            name=name,
        )

    def stop_producers(self) -> None:
        """Let producers end after the task that they are publishing."""
        self._stop.touch()

    def published(self) -> list[str]:
        """Return the ids of all tasks that producers have published."""
        files = self.folder.glob("*.ids")
        return [id for file in files for id in file.read_text().split()]

    @property
    def _stop(self) -> Path:
        return self.folder / "stop"


def rehearse_on(
    broker: BrokerServer,
    databases: PostgreSQL,
    folder: Path,
    *,
    tasks: int,
    report: Callable[[str], object],
) -> None:
    """Rehearse with servers; the other arguments are those of `rehearse`."""
    last = check_out_last_release(folder / "last")
    with databases.database() as database, broker.access() as access:
        execute(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        environment = server_broker("redis", access, database=database).environment
        fleet = Fleet(environment, database, folder)
        rehearse(fleet, last, tasks=tasks, report=report)


def rehearse(
    fleet: Fleet, last: Release, *, tasks: int, report: Callable[[str], object]
) -> None:
    """Upgrade a fleet with a number of old tasks.

    Args:
        fleet: With an empty database on PostgreSQL, without schema.
        report: Receives lines with the measurements.

    Raises:
        AssertionError: A task is lost, is there twice or has changed, or a statement
            waited too long for a lock.
    """
    last.run(old_history.PROGRAM, fleet.database, str(tasks))
    old = last.environment
    with ExitStack() as stack:
        with ExitStack() as of_last:
            for name, *words in (("old-monitor", "tasks", "monitor"), ("old", *WORKER)):
                of_last.enter_context(fleet.run(name, *words, release=old))
            producers = [
                of_last.enter_context(fleet.producer("old-producer", release=old)),
                of_last.enter_context(fleet.producer("new-producer", release=THIS)),
            ]
            worker = stack.enter_context(fleet.run("new", *WORKER, release=LATE))
            _assert_new_code_asks_for_the_upgrade(fleet, worker)
            _wait_for_more(fleet)
            probe = of_last.enter_context(probing(fleet.database))
            _upgrade(fleet, report)
            _wait_for_more(fleet)
            stack.enter_context(fleet.run("monitor", "tasks", "monitor", release=THIS))
            _move(fleet, tasks, report)
            _wait_for_more(fleet)
            fleet.stop_producers()
            for each in producers:
                assert each.wait(timeout_s=TIMEOUT_S) == 0
        _report(probe, report)
        _finish(fleet)
        with fleet.producer("last-producer", release=THIS) as producer:
            assert producer.wait(timeout_s=TIMEOUT_S) == 0
        published = fleet.published()
        wait_until(lambda: all_ended(fleet.database, published), timeout_s=TIMEOUT_S)
    with _archiving(fleet, delay_s=0.0) as archiving:
        archiving.run_once()
    report(f"{len(published)} tasks published meanwhile")
    assert_moved(fleet.database)
    assert_published(fleet.database, published)


def _assert_new_code_asks_for_the_upgrade(fleet: Fleet, worker: Process) -> None:
    with pytest.raises(SchemaOutdated, match="tasks upgrade"):
        TaskStore(fleet.database)
    with fleet.run("monitor", "tasks", "monitor", release=THIS) as refused:
        assert refused.wait(timeout_s=TIMEOUT_S) == 1
    assert "run `celery -A … tasks upgrade`" in refused.text
    worker.wait_for("run `celery -A … tasks upgrade`", timeout_s=TIMEOUT_S)


def _wait_for_more(fleet: Fleet) -> None:
    """Wait until producers have published more tasks."""
    enough = len(fleet.published()) + PER_PHASE
    wait_until(lambda: len(fleet.published()) >= enough, timeout_s=TIMEOUT_S)


def _upgrade(fleet: Fleet, report: Callable[[str], object]) -> None:
    began_at = time.monotonic()
    revision = upgrade(result_backend_url(fleet.database))
    report(f"upgrade to {revision} took {time.monotonic() - began_at:.1f} s")

    assert revision == HEAD_REVISION


def _move(fleet: Fleet, tasks: int, report: Callable[[str], object]) -> None:
    """Archive the tasks of the last release."""
    began_at = time.monotonic()
    steps: list[float] = []
    with _archiving(fleet, delay_s=60.0, steps=steps) as archiving:

        def is_moved() -> bool:
            archiving.run_once()
            return not fetch(fleet.database, LEFT)

        wait_until(is_moved, timeout_s=TIMEOUT_S + tasks / 200)
    took_s = time.monotonic() - began_at
    report(f"archiving took {took_s:.0f} s, {took_s / tasks * 1e6:.0f} µs a task")
    half = len(steps) // 2
    for name, some in (("first", steps[:half]), ("second", steps[half:])):
        middle_s = median(some or [0.0])
        report(f"transactions, {name} half: median {middle_s:.2f} s")
    report(f"longest transaction: {max(steps):.2f} s")


@contextmanager
def _archiving(
    fleet: Fleet, *, delay_s: float, steps: list[float] | None = None
) -> Iterator[Archiving]:
    """Yield an archiver; the durations of its longer transactions go into `steps`."""
    engine = create_engine(fleet.database)
    if steps is not None:
        _time_transactions(engine, steps)
    options = ArchiveOptions(delay_s=delay_s)
    try:
        yield Archiving(engine, options, should_stop=lambda: False)
    finally:
        engine.dispose()


def _time_transactions(engine: Engine, steps: list[float]) -> None:
    began_at: dict[Connection, float] = {}

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        began_at[connection] = time.monotonic()

    @event.listens_for(engine, "commit")
    def end(connection: Connection) -> None:
        took_s = time.monotonic() - began_at.pop(connection)
        if took_s >= SHORT_S:
            steps.append(took_s)


def _report(probe: Probe, report: Callable[[str], object]) -> None:
    for table, longest_s in sorted(probe.longest_s.items()):
        report(f"longest statement on {table}: {longest_s:.2f} s")

    assert not probe.refused, probe.refused


def _finish(fleet: Fleet) -> None:
    # As if the monitor of the last release had been stopped some minutes ago.
    execute(fleet.database, LONG_AGO)
    upgrade(fleet.database, finish=True)

    assert not fetch(fleet.database, TABLES_OF_EARLIER_RELEASES)
