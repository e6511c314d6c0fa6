"""Injects faults into archivers beside a fleet that writes, and checks the history."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

from sqlalchemy import URL, func, select
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.results._database.tables import attempt, planned, task
from faults.archiver_faults import FAULTS, Fleet
from faults.history_tasks import expected
from faults.restartable import RestartableProcess
from faults.rounds import Rounds
from servers import postgresql
from servers.ports import HOST
from support.brokers import result_backend_url
from support.polling import wait_until
from support.processes import Process, running
from support.proxy import Proxy, proxied_url, run_proxy
from support.task_histories import History, open_history

TESTS_FOLDER = Path(__file__).parent.parent

WRITERS = 2
ARCHIVERS = 2

#: Tasks that an archiver moves in one transaction.
BATCH_SIZE = 25

#: Connections that the server allows.
SETTINGS = {**postgresql.SURVIVING_KILLS, "max_connections": "40"}

#: Age of results that are deleted meanwhile: only results with the time of a slow
#: clock. The message of a task may be stored seconds after its states, which would be
#: deleted before it with a shorter age.
EXPIRES = timedelta(minutes=5)

#: Seconds between two calls of `backend_cleanup`.
CLEANUP_S = 0.5

#: Maximum time in seconds until all remaining tasks are archived.
TIMEOUT_S = 60.0


def run_archiver_fleet(
    folder: Path, *, faults: int, seed: int, longest_s: float, print_output: bool = True
) -> int:
    """Store a round of tasks during each fault, and verify the history at the end.

    Args:
        folder: The folder for all files.
        faults: The number of faults. Each kind occurs before any kind occurs again.
        seed: Determines the faults and the steps of the tasks.
        longest_s: The longest duration of a fault in seconds.
        print_output: Whether to print the output of each process at its end.

    Returns:
        The number of tasks.

    Raises:
        AssertionError: The history differs from the stored tasks.
        ChildProcessError: A process has failed.
    """
    random = Random(seed)
    kinds = random.sample(FAULTS, len(FAULTS))
    with _environment(folder, seed, print_output=print_output) as environment:
        fleet = Fleet(
            environment.database,
            environment.proxy,
            environment.server,
            environment.archivers,
            environment.wait,
            random,
            longest_s,
        )
        for number, fault in enumerate(islice(cycle(kinds), faults)):
            environment.rounds.grant(number + 1)
            environment.wait(random.uniform(0, 1))
            print(f"{number}: {fault.__name__}", flush=True)
            fault(fleet)
            environment.wait_for_rounds(number)
        environment.rounds.grant(faults, end=True)
        environment.wait_for_rounds(faults)
        environment.wait_for_archivers()
        verify_history(environment.past, rounds=faults)
    return len(expected(faults))


@dataclass(frozen=True)
class _Environment:
    """The processes of a fleet, and the database."""

    database: URL
    proxy: Proxy
    server: RestartableProcess
    archivers: Sequence[RestartableProcess]
    writers: Sequence[Process]
    rounds: Rounds
    past: History

    def check(self) -> None:
        """Raise an error if a process has ended without being killed."""
        for archiver in self.archivers:
            archiver.supervise()
        for writer in self.writers:
            if writer.exit_code:
                raise ChildProcessError(writer.tail)

    def wait(self, seconds: float) -> None:
        """Wait, and check the processes meanwhile."""
        until = time.monotonic() + seconds

        def is_over() -> bool:
            self.check()
            return time.monotonic() >= until

        wait_until(is_over, timeout_s=seconds + TIMEOUT_S)

    def wait_for_rounds(self, number: int) -> None:
        """Wait until all writers have stored so many rounds."""

        def are_stored() -> bool:
            self.check()
            stored = [each.text.count("stored round") for each in self.writers]
            assert min(stored) >= number, f"{stored} rounds are stored of {number}"
            return True

        wait_until(are_stored, timeout_s=2 * TIMEOUT_S)

    def wait_for_archivers(self) -> None:
        """Wait until all ended tasks are archived."""

        def are_done() -> bool:
            self.check()
            left = {"results": self.past.unarchived()}
            with self.past.engine.connect() as connection:
                for table in (task, attempt, planned):
                    query = select(func.count()).select_from(table)
                    left[table.name] = connection.execute(query).scalar_one()
            assert not any(left.values()), f"left in the live tables: {left}"
            return True

        wait_until(are_done, timeout_s=TIMEOUT_S)


def verify_history(past: History, *, rounds: int) -> None:
    """Compare the history with the tasks that the writers have stored.

    Raises:
        AssertionError: A task is missing, shown twice, or shown with a wrong end.
    """
    tasks = expected(rounds)
    rows = past.rows()
    for found in ([row["id"] for row in rows], [row["id"] for row in past.shown()]):
        twice = [id for id, number in Counter(found).items() if number > 1]
        assert not twice, f"shown twice: {twice}"
        assert {*found} == {*tasks}, f"different: {sorted({*found} ^ {*tasks})}"
    for row in rows:
        kind = tasks[row["id"]]
        stored = (
            row["status"],
            row["tracked"],
            len(row["messages"] or ()),
            len(row["attempts"] or ()),
        )
        messages = kind.messages if kind.messages > 1 else 0
        due = (kind.status, kind.messages > 0, messages, kind.attempts)
        assert stored == due, f"{row['id']}: {stored}, not {due}"
    past.check_rollups()
    past.check_values()


@contextmanager
def _environment(
    folder: Path, seed: int, *, print_output: bool
) -> Iterator[_Environment]:
    with ExitStack() as stack:
        cluster = stack.enter_context(postgresql.cluster(SETTINGS))
        server = RestartableProcess(cluster.running)
        stack.callback(server.close)
        server.start()
        database = cluster.url.render_as_string(hide_password=False)
        upgrade(result_backend_url(database))
        proxy = stack.enter_context(run_proxy(HOST, cluster.url.port or 0))
        rounds = Rounds(folder / "rounds")
        rounds.grant(0)
        run = partial(
            _run, proxied_url(database, proxy), folder=folder, print_output=print_output
        )
        archivers = []
        for _ in range(ARCHIVERS):
            archiver = RestartableProcess(
                lambda: run("faults.archiver_process", str(BATCH_SIZE))
            )
            archivers.append(archiver)
            stack.callback(archiver.close)
            archiver.start()
        published = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
        file = str(folder / "rounds")
        arguments = (str(WRITERS), published, file)
        writers = [
            stack.enter_context(
                run("faults.history_writer", str(seed), str(number), *arguments)
            )
            for number in range(WRITERS)
        ]
        past = stack.enter_context(open_history(database))
        stack.enter_context(_cleanup(past))
        yield _Environment(cluster.url, proxy, server, archivers, writers, rounds, past)


def _run(
    database: str, module: str, *arguments: str, folder: Path, print_output: bool
) -> AbstractContextManager[Process]:
    path = os.pathsep.join(filter(None, [str(TESTS_FOLDER), os.getenv("PYTHONPATH")]))
    return running(
        [sys.executable, "-m", module, database, *arguments],
        folder=folder,
        environment={"PYTHONPATH": path},
        name=module.rpartition(".")[2],
        print_output=print_output,
    )


@contextmanager
def _cleanup(past: History) -> Iterator[None]:
    """Delete results that are archived, as `backend_cleanup` does, during the block."""
    backend: Any = past.app.backend
    backend.expires = EXPIRES
    ending = Event()

    def delete() -> None:
        while not ending.wait(CLEANUP_S):
            with suppress(DBAPIError):
                backend.cleanup()

    thread = Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
