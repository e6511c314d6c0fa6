"""A wall clock that runs ahead, by a number of hours that a file holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import time_machine

from support.statements import execute

#: Seconds between two looks at the file.
INTERVAL_S = 0.1

#: Seconds by which the clocks step: less than a day, after which the archiver would not
#: wait for the messages of monitors that have not reported meanwhile.
STEP_S = 23 * 3600.0

#: Gives a database a clock of its own. The statements, views and triggers of the
#: toolbox call `now()`, which PostgreSQL finds in this schema first. A new session of
#: the database has this search path.
_DATABASE_CLOCK = (
    "CREATE SCHEMA soak",
    "CREATE TABLE soak.clock AS SELECT interval '0' AS ahead",
    """
    CREATE FUNCTION soak.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + ahead FROM soak.clock'
    """,
    """
    DO $$ BEGIN EXECUTE format(
        'ALTER DATABASE %I SET search_path = public, soak, pg_catalog',
        current_database()
    ); END $$
    """,
)

_SET_AHEAD = "UPDATE soak.clock SET ahead = make_interval(secs => :seconds)"


@dataclass
class Clock:
    """Moves the clocks of a fleet.

    Args:
        file: Tells processes how far they are ahead.
        database: The SQLAlchemy URL of the database. It must be empty.
    """

    file: Path
    database: str
    _steps: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        execute(self.database, *_DATABASE_CLOCK)
        self._set(0.0)

    @property
    def ahead_s(self) -> float:
        """Seconds by which the clocks of the fleet are ahead."""
        return self._steps[-1][1]

    def step(self) -> None:
        """Move the clocks of PostgreSQL and of all processes."""
        self._set(self.ahead_s + STEP_S)

    def age_s(self, at: datetime) -> float:
        """Return the real seconds since the clocks of the fleet showed a time."""
        shown = at.timestamp()
        now = time.time()
        for since, ahead_s in reversed(self._steps):
            # A process may learn of a step a little later.
            if shown - ahead_s >= since - INTERVAL_S:
                return max(0.0, now - (shown - ahead_s))
        return now - self._steps[0][0]

    def now(self) -> datetime:
        """Return the time that the clocks of the fleet show."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def _set(self, ahead_s: float) -> None:
        execute_step = _SET_AHEAD.replace(":seconds", repr(ahead_s))
        execute(self.database, execute_step)
        new = self.file.with_suffix(".new")
        new.write_text(repr(ahead_s), "ascii")
        new.rename(self.file)
        self._steps.append((time.time(), ahead_s))


def read_ahead_s(file: Path) -> float:
    """Return the seconds by which the clocks of the fleet are ahead."""
    return float(file.read_text("ascii"))


def steps_of(file: Path) -> int:
    """Return how often the clocks of the fleet have stepped."""
    return round(read_ahead_s(file) / STEP_S)


@contextmanager
def followed(file: Path) -> Iterator[None]:
    """Let the clock of this process follow the file during the block.

    Monotonic clocks, and so timers and pauses, stay as they are.
    """
    ahead_s = read_ahead_s(file)
    ending = Event()
    with time_machine.travel(time.time() + ahead_s, tick=True) as clock:

        def follow(ahead_s: float) -> None:
            while not ending.wait(INTERVAL_S):
                if (now_s := read_ahead_s(file)) != ahead_s:
                    clock.shift(timedelta(seconds=now_s - ahead_s))
                    ahead_s = now_s

        thread = Thread(target=follow, args=(ahead_s,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
