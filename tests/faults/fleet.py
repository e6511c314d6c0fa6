"""A real fleet that works while faults befall it."""

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

TESTS = Path(__file__).parent.parent
CELERY = [sys.executable, "-m", "celery", "-A", "faults.fault_service"]
CELERY += ["--workdir", str(TESTS)]

#: How a worker is started, without what would only make that last longer.
WORKER = ("worker", "--without-gossip", "--without-mingle", "-l", "INFO", "-c", "2")

#: With what a worker of Celery's ends that loses its pool while it starts, or a process
#: of it and the broker at once; and a monitor that finds no broker or no database.
NO_POOL = ("Could not start worker processes", "file descriptor is None")
UNAVAILABLE = ("cannot be used",)

#: Messages published before a fault, beyond the run that it waits for: what the
#: fleet is at while it lasts.
AHEAD = 60

#: Processes that publish at the same time.
PRODUCERS = 2


@dataclass(frozen=True)
class Fleet:
    """Producers, workers of two queues and two monitors on one site.

    Attributes:
        timeout_s: Seconds for the next fault to come due, and for the fleet to become
            quiet after the last.
        print_output: Whether the output of the processes is printed at their end.
    """

    site: FleetEnvironment
    folder: Path
    journal: Journal
    timeout_s: float
    print_output: bool
    members: dict[str, RestartableProcess] = field(default_factory=dict)
    producers: list[Process] = field(default_factory=list)

    @contextmanager
    def working(self, tasks: int, seed: int) -> Iterator[None]:
        """Run it as long as the block lasts."""
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
        member = RestartableProcess(
            lambda: self._running(name, [*CELERY, *command]),
            may_end_with=UNAVAILABLE if name in MONITORS else NO_POOL,
        )
        self.members[name] = member
        stack.callback(member.close)
        member.start()

    def _producer(
        self, number: int, tasks: int, seed: int
    ) -> AbstractContextManager[Process]:
        arguments = [str(tasks), str(seed * PRODUCERS + number)]
        command = [sys.executable, "-m", "faults.producer", *arguments]
        return self._running("producer", command)

    def _running(
        self, name: str, command: Sequence[str]
    ) -> AbstractContextManager[Process]:
        environment = {**self.site.environment, FOLDER: str(self.folder)}
        environment["PYTHONPATH"] = _with_tests()
        return running(
            command,
            folder=self.folder,
            environment=environment,
            name=name,
            print_output=self.print_output,
        )

    def suffer(self, faults: Sequence[Fault]) -> None:
        """Have the faults befall the fleet, each in its moment.

        Raises:
            ChildProcessError: A producer has failed.
            TimeoutError: The fleet does not get as far as the next fault.
        """
        for fault in faults:
            self.journal.set_limit(fault.after + AHEAD)
            self._wait(partial(self._is_due, fault))
            print(fault, flush=True)
            self._befall(fault)

    def _is_due(self, fault: Fault) -> bool:
        runs = self.journal.count_runs()
        assert runs >= fault.after, f"{runs} tasks run, waiting for: {fault}"
        return True

    def _befall(self, fault: Fault) -> None:
        whom = fault.kind.whom
        member = (self.members | self.site.servers).get(whom)
        match fault.kind.what:
            case FaultAction.KILL if member:
                member.kill()
                _pass(fault.lasting_s)
                member.start()
            case FaultAction.KILL_POOL if member:
                member.kill_pool()
            case FaultAction.PAUSE if member:
                member.process.pause()
                try:
                    _pass(fault.lasting_s)
                finally:
                    member.process.resume()
            case FaultAction.CUT:
                self.site.proxies[whom].cut()
            case FaultAction.LOCK:
                with _locked(self.site.database):
                    _pass(fault.lasting_s)
            case _:
                raise LookupError(f"no {whom!r} in this fleet")

    def settle(self) -> None:
        """Wait until all is published, run, tracked and acknowledged.

        Raises:
            ChildProcessError: A producer has failed.
            TimeoutError: Not in time; says what is open.
        """
        ends = ResultDatabase(self.site.database)
        self.journal.set_limit(sys.maxsize)

        def look() -> bool:
            publishing = [each for each in self.producers if each.exit_code is None]
            assert not publishing, f"{len(publishing)} producers publish"
            open = ends.unfinished(self.journal)
            assert not open, f"{len(open)} tasks open, as {sorted(open)[:SHOWN_IDS]}"
            left = {queue: n for queue, n in self.site.left().items() if n}
            assert not left, f"messages in queues, or not acknowledged: {left}"
            return True

        self._wait(look)

    def _wait(self, look: Callable[[], bool]) -> None:
        def supervise() -> bool:
            for producer in self.producers:
                if producer.exit_code:
                    raise ChildProcessError(producer.tail)
            for name, member in self.members.items():
                if member.supervise():
                    print(f"started {name} again, which had ended", flush=True)
            return look()

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
    """Run a fleet on a broker, with faults drawn from a seed, and verify what is left.

    Args:
        name: A broker, one of `KINDS`.
        folder: Where its files go.
        tasks: How many tasks are published at least.
        faults: How many faults there are.
        longest_s: Seconds that a fault lasts at most.
        timeout_s: Seconds for the next fault to come due, and for the end.
        print_output: Whether the output of its processes is printed.

    Raises:
        AssertionError: An invariant does not hold.
        TimeoutError: The fleet has not become quiet.
    """
    print(f"{name}: {tasks} tasks, seed {seed}", flush=True)
    drawn = draw_faults(
        seed, FAULT_KINDS[name], count=faults, tasks=tasks, longest_s=longest_s
    )
    journal = Journal(folder)
    with open_environment(name, folder) as site:
        fleet = Fleet(site, folder, journal, timeout_s, print_output)
        with fleet.working(tasks, seed):
            fleet.suffer(drawn)
            fleet.settle()
        summary = verify(journal, ResultDatabase(site.database), site.left())
    print(f"{name}: {len(drawn)} faults, {summary}", flush=True)
    return summary


def _with_tests() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join(filter(None, [str(TESTS), inherited]))


def _pass(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, timeout_s=seconds + 1)


@contextmanager
def _locked(database: str) -> Iterator[None]:
    """Hold the lock of a file with a database, so that nobody else can write."""
    with closing(sqlite3.connect(make_url(database).database or "")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()
