"""Faults of the broker, and of the processes of fleets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import text

from cadasta.workertoolbox.results import upgrade
from faulted.environment import APPLICATION
from faulted.fleets import OURS
from faulted.observer import Observation
from faulted.trial import Trial

#: How long each fault lasts, in seconds.
BROKER_DOWN_S = 3.0
PARTITION_S = 6.0
ALARM_S = 6.0
MIXED_S = 12.0

#: Keeps the archiver waiting in the middle of its transaction, and says when it does.
LOCK_ROLLUPS = "LOCK TABLE workertoolbox_rollup IN SHARE MODE"
WAITING = f"""
SELECT 1 FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND application_name <> '{APPLICATION}'
"""

#: Seconds to wait for the archiver, and between two looks at it.
ARCHIVER_S = 30.0
INTERVAL_S = 0.02

#: What an overload is, as a multiple of what a fleet sustains.
OVERLOAD = 1.5

#: What is published to measure that: tasks in a second, until as many wait as are
#: published in so many seconds at the steady rate. A worker, which runs at most four
#: times that rate, is then busy while its results are counted for some seconds.
BURST_RATE = 400.0
WAITING_S = 25.0
MEASURED_S = 6.0

#: Seconds until so many wait, and then until they have been run, at most. A fleet that
#: does not get that far has reached its limit, or runs nothing any more.
BACKLOG_S = 120.0

#: The name of the producer of bursts and overloads.
PRODUCER = "producer-load"


def restart_broker(trial: Trial) -> None:
    """Kill the broker, and start it after some seconds."""
    process = trial.environment.process
    process.kill()
    try:
        trial.hold(BROKER_DOWN_S)
    finally:
        process.start()


def cut_broker_off(trial: Trial) -> None:
    """Drop what is sent, refuse new connections, and end the old ones at the end."""
    proxy = trial.environment.proxy
    proxy.stall()
    proxy.refuse_connections()
    try:
        trial.hold(PARTITION_S)
    finally:
        proxy.cut()
        proxy.accept_connections()


def raise_memory_alarm(trial: Trial) -> None:
    """Let the broker run out of memory."""
    assert trial.environment.broker.alarm is not None
    with trial.environment.broker.alarm():
        trial.hold(ALARM_S)


def kill_worker(trial: Trial) -> None:
    """Kill each worker with its pool, and start another one."""
    _kill(trial, "worker")


def kill_monitor(trial: Trial) -> None:
    """Kill the monitor, and start another one."""
    _kill(trial, "monitor")


def _kill(trial: Trial, name: str) -> None:
    for fleet in trial.fleets.values():
        if process := fleet.processes.get(name):
            process.kill()
            process.start()


def kill_archiver(trial: Trial) -> None:
    """Kill the monitor while it archives, in the middle of a transaction."""
    engine = trial.environment.databases[OURS].engine
    until_s = time.monotonic() + ARCHIVER_S
    with engine.connect() as connection:
        connection.execute(text("BEGIN"))
        connection.execute(text(LOCK_ROLLUPS))
        while not connection.execute(text(WAITING)).first():
            if time.monotonic() > until_s:
                raise TimeoutError(f"no archiver within {ARCHIVER_S:g} s")
            time.sleep(INTERVAL_S)
        _kill(trial, "monitor")
        connection.execute(text("ROLLBACK"))


def mix_versions(trial: Trial) -> None:
    """Upgrade the database of an old fleet, and run both versions for a time."""
    fleet = trial.fleets[OURS]
    assert fleet.database is not None
    upgrade(fleet.database.fleets_url)
    old = [*fleet.processes]
    fleet.start_worker("new-worker")
    fleet.start_monitor("new-monitor")
    fleet.start_producer("producer-new", trial.rate)
    trial.hold(MIXED_S)
    for name in old:
        if name != "producer":
            fleet.processes.pop(name).close()


def overload(trial: Trial) -> None:
    """Measure what each fleet sustains, and publish more for some minutes."""
    enough = WAITING_S * trial.rate
    with _producers(trial, dict.fromkeys(trial.fleets, BURST_RATE)):
        _hold_while(trial, lambda seen: seen.waiting < enough)
    before = {name: len(seen.finished_s) for name, seen in trial.seen.items()}
    trial.hold(MEASURED_S)
    rates = {
        name: (len(seen.finished_s) - before[name]) / MEASURED_S
        for name, seen in trial.seen.items()
    }
    _hold_while(trial, lambda seen: seen.waiting > trial.rate)
    print("sustained tasks in a second:", rates, flush=True)
    # On the emulator of SQS, the steady rate alone may be more than that.
    for fleet in trial.fleets.values():
        fleet.processes.pop("producer").kill()
    # A fleet that runs nothing any more gets a task a second.
    load = {name: max(1, OVERLOAD * rate) for name, rate in rates.items()}
    with _producers(trial, load):
        trial.hold(trial.load_s)
    for fleet in trial.fleets.values():
        fleet.start_producer("producer", trial.rate)


@contextmanager
def _producers(trial: Trial, rates: Mapping[str, float]) -> Iterator[None]:
    """Let each fleet have another producer during the block."""
    for name, rate in rates.items():
        trial.fleets[name].start_producer(PRODUCER, rate)
    yield
    for name in rates:
        trial.fleets[name].processes.pop(PRODUCER).kill()


def _hold_while(trial: Trial, check: Callable[[Observation], bool]) -> None:
    """Let the fleets work while the check of any of them is true, for some minutes."""
    until_s = time.monotonic() + BACKLOG_S
    while time.monotonic() < until_s and any(map(check, trial.seen.values())):
        trial.hold(INTERVAL_S)
