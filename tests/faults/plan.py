"""What befalls a fleet, and when, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from random import Random


class FaultAction(StrEnum):
    """What can befall a part of a fleet."""

    KILL = "kill -9"
    KILL_POOL = "kill -9 the pool of"
    PAUSE = "pause"
    CUT = "cut the connections to"
    LOCK = "lock"


#: What is over at once.
MOMENTARY = (FaultAction.CUT, FaultAction.KILL_POOL)


@dataclass(frozen=True)
class FaultKind:
    """A part of a fleet, and what befalls it."""

    what: FaultAction
    whom: str


@dataclass(frozen=True)
class Fault:
    """A fault at its moment.

    Attributes:
        after: How many tasks have been run by then.
        kind: What it is.
        lasting_s: Seconds until what was ended or stopped is started again.
    """

    after: int
    kind: FaultKind
    lasting_s: float

    def __str__(self) -> str:
        what, whom = self.kind.what, self.kind.whom
        lasts = "" if what in MOMENTARY else f", for {self.lasting_s:.1f} s"
        return f"after {self.after} tasks: {what} {whom}{lasts}"


def draw_faults(
    seed: int, kinds: Sequence[FaultKind], *, count: int, tasks: int, longest_s: float
) -> list[Fault]:
    """Return faults in their order; each kind comes before any comes twice.

    Args:
        count: How many faults.
        tasks: How many tasks the fleet runs, with a fault in each part of equal size.
        longest_s: Seconds that a fault lasts at most.
    """
    random = Random(seed)
    shuffled = random.sample(kinds, len(kinds))
    part = tasks / (count + 1)
    moments = [int(part * (n + random.random())) for n in range(count)]
    return [
        Fault(after, kind, random.uniform(0.1, longest_s))
        for after, kind in zip(moments, islice(cycle(shuffled), count), strict=True)
    ]
