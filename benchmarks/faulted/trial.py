"""One trial: fleets at work, a fault in the middle, and the time after it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import text

from faulted.environment import Database, Environment, open_environment
from faulted.fleets import OURS, Fleet
from faulted.observer import Observation, Observer
from faulted.outcome import Outcome, summarize
from upgrades.last_release import Release

#: Seconds at a steady rate before the fault and after it.
BEFORE_S = 8.0
AFTER_S = 8.0

#: Seconds for the first results, and for what happens after the producers stop, besides
#: as many as an overload has lasted.
START_S = 90.0
DRAIN_S = 400.0

#: Seconds for the archiver to reach the last task.
ARCHIVE_S = 25.0

#: Seconds between two looks at processes.
INTERVAL_S = 0.2

#: Seconds in which the sessions of killed processes end and report their statistics.
STATISTICS_S = 2.0

UNARCHIVED = "SELECT count(*) FROM workertoolbox_task"


@dataclass(frozen=True)
class Trial:
    """The fleets of one trial, at work.

    Attributes:
        environment: Their servers.
        folder: The folder of all files.
        rate: Tasks that each producer publishes in a second.
        load_s: Seconds of the load beyond what a fleet sustains.
        seen: What observers see of each fleet.
    """

    environment: Environment
    folder: Path
    rate: float
    load_s: float
    seen: dict[str, Observation] = field(default_factory=dict)

    @property
    def fleets(self) -> Mapping[str, Fleet]:
        """The fleets by name."""
        return self.environment.fleets

    @property
    def databases(self) -> list[Database]:
        """The databases of the fleets that have one."""
        return [*self.environment.databases.values()]

    def hold(self, seconds: float) -> None:
        """Let the fleets work for a time."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.supervise()
            time.sleep(INTERVAL_S)

    def supervise(self) -> None:
        """Start each process again that has ended by itself."""
        for fleet in self.fleets.values():
            fleet.supervise()

    def wait_for_results(self, count: int, *, timeout_s: float = START_S) -> None:
        """Wait until each fleet has so many results.

        Raises:
            TimeoutError: A fleet has not.
        """
        until_s = time.monotonic() + timeout_s
        while any(len(each.finished_s) < count for each in self.seen.values()):
            if time.monotonic() > until_s:
                counts = {k: len(each.finished_s) for k, each in self.seen.items()}
                raise TimeoutError(f"only these results: {counts}")
            self.hold(INTERVAL_S)

    def keep(self, **times_s: float) -> None:
        """Write what was seen into the folder of each fleet, beside its journal."""
        for name, seen in self.seen.items():
            text = json.dumps({**asdict(seen), **times_s})
            self.folder.joinpath(name, "seen.json").write_text(text, "utf-8")

    def drain(self, *, quiet_s: float) -> None:
        """Wait until every task has its result, or no result appears for a time."""
        for fleet in self.fleets.values():
            fleet.stop_producers()
        until_s = time.monotonic() + DRAIN_S + self.load_s
        self.hold(2 * INTERVAL_S)
        while time.monotonic() < until_s and any(
            each.waiting and time.time() < each.changed_s + quiet_s
            for each in self.seen.values()
        ):
            self.hold(INTERVAL_S)

    def wait_for_archiver(self) -> None:
        """Wait until our fleet has moved its tasks to the history, for some seconds."""
        until_s = time.monotonic() + ARCHIVE_S
        engine = self.environment.databases[OURS].engine
        while time.monotonic() < until_s:
            with engine.connect() as connection:
                if not connection.execute(text(UNARCHIVED)).scalar_one():
                    return
            self.hold(INTERVAL_S)


def run_trial(
    broker: str,
    folder: Path,
    fault: Callable[[Trial], None],
    *,
    fleets: tuple[str, ...],
    rate: float,
    load_s: float,
    quiet_s: float,
    small_disk: bool = False,
    release: Release | None = None,
) -> dict[str, Outcome]:
    """Return what became of the tasks of each fleet.

    Args:
        broker: The name of the broker.
        folder: The folder for all files.
        fault: Injects the fault, and lifts it after its time.
        fleets: The fleets that take part.
        rate: Tasks that each producer publishes in a second.
        load_s: Seconds of the load beyond what a fleet sustains.
        quiet_s: Seconds without a new result after which the rest is given up.
        small_disk: Whether the databases have a small file system of their own.
        release: An earlier release, with which the fleet begins.

    Raises:
        TimeoutError: A fleet did not start to work.
    """
    with ExitStack() as stack:
        environment = stack.enter_context(
            open_environment(
                broker, folder, fleets=fleets, small_disk=small_disk, release=release
            )
        )
        trial = Trial(environment, folder, rate, load_s)
        for name, fleet in environment.fleets.items():
            stack.callback(fleet.kill)
            fleet.start(rate, release=release)
            observed = Observer(fleet).running()
            trial.seen[name] = stack.enter_context(observed)
        trial.wait_for_results(3)
        trial.hold(BEFORE_S)
        fault_s = time.time()
        fault(trial)
        lifted_s = time.time()
        trial.hold(AFTER_S)
        trial.drain(quiet_s=quiet_s)
        if OURS in environment.databases:
            trial.wait_for_archiver()
        for fleet in environment.fleets.values():
            fleet.kill()
        time.sleep(STATISTICS_S)
        trial.keep(fault_s=fault_s, lifted_s=lifted_s)
        return {
            name: summarize(fleet, trial.seen[name], fault_s=fault_s, lifted_s=lifted_s)
            for name, fleet in environment.fleets.items()
        }
