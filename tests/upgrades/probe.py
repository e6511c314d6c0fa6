"""A client that uses every table constantly, and measures how long it waits."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError

#: Maximum time in seconds that a statement may wait for a lock.
LONGEST_WAIT_S = 1.0

#: Seconds between two statements.
PAUSE_S = 0.01

#: A statement for each table that takes the lock of a write, and one for the view that
#: takes the lock of a read.
STATEMENTS = {
    **{
        table: f"UPDATE {table} SET {column} = {column} WHERE false"
        for table, column in (
            ("celery_taskmeta", "worker"),
            ("celery_tasksetmeta", "result"),
            ("workertoolbox_task", "queue"),
            ("workertoolbox_attempt", "queue"),
            ("workertoolbox_planned", "name"),
            ("workertoolbox_quarantine", "reason"),
            ("workertoolbox_chord", "done"),
            ("workertoolbox_chord_part", "status"),
        )
    },
    "workertoolbox_tasks": "SELECT status FROM workertoolbox_tasks WHERE id = 'none'",
}


@dataclass
class Probe:
    """The measurements of a probe.

    Attributes:
        longest_s: The longest duration of a statement in seconds, by its table.
        refused: Errors of statements that waited too long for a lock.
    """

    longest_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    refused: list[str] = field(default_factory=list)


@contextmanager
def probing(database: str) -> Iterator[Probe]:
    """Run a probe until the block ends."""
    probe, stop = Probe(), Event()
    timeout = f"-c lock_timeout={LONGEST_WAIT_S * 1000:.0f}"
    engine = create_engine(database, connect_args={"options": timeout})
    thread = Thread(target=_run, args=(probe, engine, stop))
    thread.start()
    try:
        yield probe
    finally:
        stop.set()
        thread.join()
        engine.dispose()


def _run(probe: Probe, engine: Engine, stop: Event) -> None:
    while True:
        for table, statement in STATEMENTS.items():
            began_at = time.monotonic()
            try:
                with engine.begin() as connection:
                    connection.exec_driver_sql(statement)
            except DBAPIError as error:
                probe.refused.append(f"{table}: {error.orig}")
            took_s = time.monotonic() - began_at
            probe.longest_s[table] = max(probe.longest_s[table], took_s)
            if stop.wait(PAUSE_S):
                return
