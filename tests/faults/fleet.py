"""A fleet of real processes that runs workflows while faults are injected."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import make_url

from faults.environment import (
    FAULT_KINDS,
    MONITORS,
    WORKERS,
    FleetEnvironment,
    open_environment,
)
from faults.journal import FOLDER, Journal
from faults.plan import Fault, FaultAction, draw_faults
from faults.restartable import RestartableProcess
from faults.verification import SHOWN_IDS, ResultDatabase, Summary, verify
from support.polling import wait_until
from support.processes import Process, running

TESTS_FOLDER = Path(__file__).parent.parent
CELERY = [sys.executable, "-m", "celery", "-A", "faults.fault_service"]
CELERY += ["--workdir", str(TESTS_FOLDER)]

#: The command of a worker, without the steps that only delay its start.
WORKER = ("worker", "--without-gossip", "--without-mingle", "-l", "INFO", "-c", "2")

#: Errors with which a worker exits if it loses its pool during the start, or a pool
#: process and the broker at once.
POOL_LOST = ("Could not start worker processes", "file descriptor is None")

#: The error with which a monitor exits if the broker or the database is unavailable.
UNAVAILABLE = ("cannot be used",)

#: Messages that may be published before a fault, beyond the runs that it waits for, so
#: that the fleet has work during the fault.
PUBLISH_AHEAD = 60

#: The number of processes that publish.
PRODUCERS = 2


@dataclass(frozen=True)
class Fleet:
    """Producers, workers of two queues, and two monitors.

    Attributes:
        environment: The broker and the database.
        folder: The working directory of the processes.
        journal: What the processes have published and run.
        timeout_s: Seconds to wait for the next fault, and for the fleet to become idle
            after the last one.
        print_output: Whether to print the output of each process at its end.
        processes: The workers and monitors by name.
        producers: The producers.
    """

    environment: FleetEnvironment
    folder: Path
    journal: Journal
    timeout_s: float
    print_output: bool
    processes: dict[str, RestartableProcess] = field(default_factory=dict)
    producers: list[Process] = field(default_factory=list)

    @contextmanager
    def running(self, tasks: int, seed: int) -> Iterator[None]:
        """Run the fleet as long as the block lasts."""
        with ExitStack() as stack:
            for name in MONITORS:
                self._start(stack, name, "tasks", "monitor")
            for name in WORKERS:
                queue = name.removeprefix("worker-")
                self._start(stack, name, *WORKER, "-Q", queue, "-n", f"{name}@%h")
            for number in range(PRODUCERS):
                producer = self._producer(number, tasks // PRODUCERS, seed)
                self.producers.append(stack.enter_context(producer))
            yield

    def _start(self, stack: ExitStack, name: str, *command: str) -> None:
        process = RestartableProcess(
            lambda: self._run(name, [*CELERY, *command]),
            may_end_with=UNAVAILABLE if name in MONITORS else POOL_LOST,
        )
        self.processes[name] = process
        stack.callback(process.close)
        process.start()

    def _producer(
        self, number: int, tasks: int, seed: int
    ) -> AbstractContextManager[Process]:
        arguments = [str(tasks), str(seed * PRODUCERS + number)]
        command = [sys.executable, "-m", "faults.producer", *arguments]
        return self._run("producer", command)

    def _run(
        self, name: str, command: Sequence[str]
    ) -> AbstractContextManager[Process]:
        variables = {**self.environment.variables, FOLDER: str(self.folder)}
        variables["PYTHONPATH"] = _python_path()
        return running(
            command,
            folder=self.folder,
            environment=variables,
            name=name,
            print_output=self.print_output,
        )

    def inject(self, faults: Sequence[Fault]) -> None:
        """Inject each fault at its time.

        Raises:
            ChildProcessError: A producer has failed.
            TimeoutError: The next fault was not due in time.
        """
        for fault in faults:
            self.journal.set_limit(fault.after_runs + PUBLISH_AHEAD)
            self._wait(partial(self._is_due, fault))
            print(fault, flush=True)
            self._inject(fault)

    def _is_due(self, fault: Fault) -> bool:
        runs = self.journal.count_runs()
        assert runs >= fault.after_runs, f"{runs} runs; the next fault is {fault}"
        return True

    def _inject(self, fault: Fault) -> None:
        target = fault.kind.target
        process = (self.processes | self.environment.servers).get(target)
        match fault.kind.action:
            case FaultAction.KILL if process:
                process.kill()
                _sleep(fault.duration_s)
                process.start()
            case FaultAction.KILL_POOL if process:
                process.kill_pool()
            case FaultAction.PAUSE if process:
                process.process.pause()
                try:
                    _sleep(fault.duration_s)
                finally:
                    process.process.resume()
            case FaultAction.CUT:
                self.environment.proxies[target].cut()
            case FaultAction.LOCK:
                with _locked(self.environment.database):
                    _sleep(fault.duration_s)
            case _:
                raise LookupError(f"this fleet has no process {target!r}")

    def wait_until_idle(self) -> None:
        """Wait until every task is published, run and tracked, and no message is left.

        Raises:
            ChildProcessError: A producer has failed.
            TimeoutError: The fleet was not idle in time. The message says why.
        """
        database = ResultDatabase(self.environment.database)
        self.journal.set_limit(sys.maxsize)

        def check() -> bool:
            publishing = [each for each in self.producers if each.exit_code is None]
            assert not publishing, f"{len(publishing)} producers still publish"
            open = database.unfinished(self.journal)
            assert not open, (
                f"unfinished tasks: {len(open)}, such as {sorted(open)[:SHOWN_IDS]}"
            )
            counts = self.environment.count_messages()
            left = {queue: count for queue, count in counts.items() if count}
            assert not left, f"messages are left or unacknowledged: {left}"
            return True

        self._wait(check)

    def _wait(self, check: Callable[[], bool]) -> None:
        def supervise() -> bool:
            for producer in self.producers:
                if producer.exit_code:
                    raise ChildProcessError(producer.tail)
            for name, process in self.processes.items():
                if process.supervise():
                    print(f"{name} had exited and was started again", flush=True)
            return check()

        try:
            wait_until(supervise, timeout_s=self.timeout_s)
        except AssertionError as error:
            raise TimeoutError(str(error)) from error


def run_fleet(
    name: str,
    folder: Path,
    *,
    tasks: int,
    faults: int,
    seed: int,
    longest_s: float,
    timeout_s: float,
    print_output: bool = True,
) -> Summary:
    """Run a fleet under faults that are drawn from a seed, and verify the outcome.

    Args:
        name: The broker, one of `FAULT_KINDS`.
        folder: The folder for all files.
        tasks: The least number of tasks to publish.
        faults: The number of faults.
        seed: Determines the faults and the workflows.
        longest_s: The longest duration of a fault in seconds.
        timeout_s: Seconds to wait for the next fault, and for the fleet to become idle.
        print_output: Whether to print the output of each process at its end.

    Raises:
        AssertionError: The verification failed.
        ChildProcessError: A process has failed.
        TimeoutError: The fleet did not become idle in time.
    """
    print(f"{name}: {tasks} tasks, seed {seed}", flush=True)
    drawn = draw_faults(
        seed, FAULT_KINDS[name], count=faults, tasks=tasks, longest_s=longest_s
    )
    journal = Journal(folder)
    with open_environment(name, folder) as environment:
        fleet = Fleet(environment, folder, journal, timeout_s, print_output)
        with fleet.running(tasks, seed):
            fleet.inject(drawn)
            fleet.wait_until_idle()
        database = ResultDatabase(environment.database)
        summary = verify(journal, database, environment.count_messages())
    print(f"{name}: {len(drawn)} faults, {summary}", flush=True)
    return summary


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join(filter(None, [str(TESTS_FOLDER), inherited]))


def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, timeout_s=seconds + 1)


@contextmanager
def _locked(database: str) -> Iterator[None]:
    """Lock a SQLite database for writing as long as the block lasts."""
    with closing(sqlite3.connect(make_url(database).database or "")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()
