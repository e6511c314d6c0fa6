"""The faults that are injected into a fleet, and when, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from random import Random


class FaultAction(StrEnum):
    """What is done to a part of a fleet."""

    KILL = "kill -9"
    KILL_POOL = "kill -9 the pool of"
    PAUSE = "pause"
    CUT = "cut the connections to"
    LOCK = "lock"


#: Actions without a duration.
INSTANT = (FaultAction.CUT, FaultAction.KILL_POOL)


@dataclass(frozen=True)
class FaultKind:
    """An action and its target: the name of a process, `broker` or `database`."""

    action: FaultAction
    target: str


@dataclass(frozen=True)
class Fault:
    """A fault and its time.

    Attributes:
        after_runs: The number of runs after which it is injected.
        kind: The action and its target.
        duration_s: Seconds until the action is undone.
    """

    after_runs: int
    kind: FaultKind
    duration_s: float

    def __str__(self) -> str:
        action, target = self.kind.action, self.kind.target
        duration = "" if action in INSTANT else f" for {self.duration_s:.1f} s"
        return f"after {self.after_runs} runs: {action} {target}{duration}"


def draw_faults(
    seed: int, kinds: Sequence[FaultKind], *, count: int, tasks: int, longest_s: float
) -> list[Fault]:
    """Return faults in the order of their times.

    Each kind occurs before any kind occurs again.

    Args:
        seed: Equal seeds give equal faults.
        kinds: The faults that the broker of the fleet survives.
        count: The number of faults.
        tasks: The number of tasks. Each fault is in its own part of `tasks / (count +
            1)` tasks.
        longest_s: The longest duration in seconds.
    """
    random = Random(seed)
    shuffled = random.sample(kinds, len(kinds))
    part = tasks / (count + 1)
    times = [int(part * (n + random.random())) for n in range(count)]
    return [
        Fault(after_runs, kind, random.uniform(0.1, longest_s))
        for after_runs, kind in zip(times, islice(cycle(shuffled), count), strict=True)
    ]
