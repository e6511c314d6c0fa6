"""The shared axis of time of several bars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from cadasta.workertoolbox.results._duration_text import SHOWN_UNITS

#: Seconds between two ticks, the shortest first. They are round in their unit.
_STEPS_S = (
    *(n / 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(1, 2, 5, 10, 15, 30),
    *(60 * n for n in (1, 2, 5, 10, 15, 30)),
    *(3600 * n for n in (1, 2, 3, 6, 12)),
    *(86_400 * n * 10**power for power in range(7) for n in (1, 2, 5)),
)

#: Maximum number of ticks after the first one, so that their texts do not overlap.
_MAX_TICKS = 6


class Tick(NamedTuple):
    """A mark on an axis: its place in percent, and its text, such as `2 min`."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """An axis of time, on which places are percentages of its width.

    Attributes:
        since: The instant at its start.
        until: The instant at `width`.
        width: The part of the width that stands for the time from `since` to `until`;
            beyond it are steps whose time is not known.
    """

    since: datetime
    until: datetime
    width: float = 100.0

    @property
    def length_s(self) -> float:
        """Seconds from its start to its end; at least a millisecond."""
        return max((self.until - self.since) / timedelta(seconds=1), 0.001)

    def place(self, at: datetime) -> float:
        """Return the place of an instant; what is outside is at the nearest end."""
        share = (at - self.since) / timedelta(seconds=1) / self.length_s
        return round(min(max(share, 0.0), 1.0) * self.width, 2)

    def ticks(self) -> list[Tick]:
        """Return marks at round times after the start."""
        fits = (step for step in _STEPS_S if self.length_s / step <= _MAX_TICKS)
        step = next(fits, self.length_s)
        number = int(self.length_s / step + 1e-9)
        unit, size = _unit(step)
        return [
            Tick(
                round(n * step / self.length_s * self.width, 2),
                f"{n * step / size:,.9g} {unit}" if n else "0",
            )
            for n in range(number + 1)
        ]


def _unit(step_s: float) -> tuple[str, float]:
    """Return the largest unit in which steps have at most one decimal place."""
    for unit, size, _ in SHOWN_UNITS:
        tenths = round(step_s / size * 10, 6)
        if tenths >= 1 and tenths == round(tenths):
            return unit, size
    return "s", 1
