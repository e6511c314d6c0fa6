"""What became of the tasks of a fleet during a fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from faulted.fleets import Fleet
from faulted.journal import REFUSED, RUN, read
from faulted.observer import Observation

#: How old a task may be without a result: a multiple of the highest age before the
#: fault, and seconds above it.
FACTOR = 1.5
SLACK_S = 0.5

#: Seconds before the fault in which the fleet had worked off its first tasks.
STEADY_S = 6.0


@dataclass(frozen=True)
class Outcome:
    """The figures of a fleet.

    Attributes:
        published: The tasks that were published without an error.
        lost: Those that no worker has run.
        twice: Those that workers have begun more than once.
        without_result: Those whose result the backend does not show, also lost ones.
        refused: The errors that callers got instead of a task.
        ended: The processes that ended by themselves.
        recovered_s: Seconds from the end of the fault until the oldest open task was
            as young as before; None if no task had a result before.
        wal_bytes: Bytes of write-ahead log per task; None without a database.
        dead_rows: Dead versions of rows per task.
    """

    published: int
    lost: int
    twice: int
    without_result: int
    refused: int
    ended: int
    recovered_s: float | None
    wal_bytes: float | None
    dead_rows: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields for a file."""
        return asdict(self)


def summarize(
    fleet: Fleet, seen: Observation, *, fault_s: float, lifted_s: float
) -> Outcome:
    """Compare the journal of a fleet with what was seen.

    Args:
        seen: With every task that was published.
        fault_s: When the fault began, in seconds since 1970.
        lifted_s: When it ended.
    """
    runs = Counter(event.what for event in read(fleet.folder, RUN))
    count = max(1, len(seen.published_s))
    return Outcome(
        published=len(seen.published_s),
        lost=sum(id not in runs for id in seen.published_s),
        twice=sum(number > 1 for number in runs.values()),
        without_result=len(seen.open),
        refused=len(read(fleet.folder, REFUSED)),
        ended=len(fleet.ended),
        recovered_s=_recovered_s(seen, fault_s, lifted_s),
        wal_bytes=seen.wal_bytes / count if fleet.database else None,
        dead_rows=seen.dead_rows / count if fleet.database else None,
    )


def _recovered_s(seen: Observation, fault_s: float, lifted_s: float) -> float | None:
    """Return the last moment after a fault at which the oldest open task was too old.

    Tasks that never get a result are counted elsewhere.
    """
    spans = [
        (published_s, seen.finished_s[id])
        for id, published_s in seen.published_s.items()
        if id in seen.finished_s
    ]
    # The first tasks wait until the worker has started.
    steady = [each for each in spans if each[0] > fault_s - STEADY_S]
    before = [end - begin for begin, end in steady if end < fault_s]
    if not before:
        return None
    bound_s = FACTOR * max(before) + SLACK_S
    # A task is too old from `begin + bound_s` until its end.
    late = [end for begin, end in spans if end - begin > bound_s]
    return max(0.0, max(late, default=lifted_s) - lifted_s)
