"""The scales of charts, and the ticks on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, Protocol

#: Maximum number of steps between the ticks of a number.
_MAX_STEPS = 4

#: Durations in seconds that are ticks of a logarithmic scale, with their labels.
_DURATIONS = {
    0.001: "1 ms",
    0.01: "10 ms",
    0.1: "100 ms",
    1.0: "1 s",
    10.0: "10 s",
    60.0: "1 min",
    600.0: "10 min",
    3_600.0: "1 h",
    21_600.0: "6 h",
    86_400.0: "1 d",
    864_000.0: "10 d",
    8_640_000.0: "100 d",
    86_400_000.0: "1000 d",
}

#: Maximum number of ticks of a time.
_MAX_TICKS = 7

#: Distances between the ticks of a time within a month.
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)
_DAYS = (1, 2, 7, 14)
_DISTANCES = (
    *(timedelta(minutes=each) for each in _MINUTES),
    *(timedelta(days=each) for each in _DAYS),
)

#: Distances in months.
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)


class Tick(NamedTuple):
    """A tick of an axis.

    Attributes:
        place: Where it is, as a share of the axis from its start.
        label: Its text.
    """

    place: float
    label: str


class Scale(Protocol):
    """Where the values of a chart are on its vertical axis, which begins below."""

    @property
    def ticks(self) -> Sequence[Tick]:
        """The ticks, lowest first."""

    def place(self, value: float) -> float:
        """Return where a value is, as a share of the axis from 0 to 1."""


@dataclass(frozen=True, slots=True)
class NumberScale:
    """A linear scale from zero.

    Attributes:
        step: The distance between two ticks.
        steps: Number of steps.
    """

    step: int
    steps: int

    @classmethod
    def up_to(cls, highest: float) -> NumberScale:
        """Return a scale for numbers of things, whose largest one is given."""
        least = max(highest / _MAX_STEPS, 1)
        power = 10 ** math.floor(math.log10(least))
        step = next(each * power for each in (1, 2, 5, 10) if each * power >= least)
        return cls(int(step), max(math.ceil(highest / step), 1))

    @property
    def ticks(self) -> Sequence[Tick]:
        """The ticks, lowest first."""
        return [
            Tick(number / self.steps, short_number(number * self.step))
            for number in range(self.steps + 1)
        ]

    def place(self, value: float) -> float:
        """Return where a value is, as a share of the axis from 0 to 1."""
        return min(max(value / (self.step * self.steps), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class DurationScale:
    """A logarithmic scale of durations in seconds.

    Attributes:
        lowest: The lowest tick; shorter durations are there.
        highest: The highest tick.
    """

    lowest: float
    highest: float

    @classmethod
    def between(cls, lowest: float, highest: float) -> DurationScale:
        """Return a scale for durations of which the shortest and longest are given."""
        known = [*_DURATIONS]
        first = max((each for each in known[:-1] if each <= lowest), default=known[0])
        last = min((each for each in known if each >= highest), default=known[-1])
        return cls(first, max(last, known[known.index(first) + 1]))

    @property
    def ticks(self) -> Sequence[Tick]:
        """The ticks, lowest first."""
        return [
            Tick(self.place(value), label)
            for value, label in _DURATIONS.items()
            if self.lowest <= value <= self.highest
        ]

    def place(self, value: float) -> float:
        """Return where a value is, as a share of the axis from 0 to 1."""
        value = min(max(value, self.lowest), self.highest)
        return math.log(value / self.lowest) / math.log(self.highest / self.lowest)


def short_number(number: int) -> str:
    """Return a number of at most five characters, such as `250`, `2.5k` or `40M`."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)


def time_ticks(since: datetime, until: datetime, zone: tzinfo) -> Sequence[Tick]:
    """Return the ticks of a window: round times of a clock in a time zone.

    Midnight is shown as its day, and the first of January as its year.
    """
    length = until - since
    local = since.astimezone(zone).replace(tzinfo=None)
    fitting = (each for each in _DISTANCES if length <= each * _MAX_TICKS)
    distance = next(fitting, None)
    times = _months(local, length) if distance is None else _steps(local, distance)
    has_clock = distance is not None and distance < timedelta(days=1)
    found: dict[datetime, Tick] = {}
    for each in times:
        # A time that clocks leave out or show twice is a tick at most once.
        at = each.replace(tzinfo=zone).astimezone(UTC)
        if at >= until:
            break
        if at >= since and at.astimezone(zone).replace(tzinfo=None) == each:
            label = _label(each, has_clock=has_clock, has_day=distance is not None)
            found[at] = Tick((at - since) / length, label)
    return [*found.values()]


def _steps(local: datetime, distance: timedelta) -> Iterator[datetime]:
    """Yield the times on a clock from the last tick before a time."""
    monday = datetime(1970, 1, 5)
    at = local - (local - monday) % distance
    while True:
        yield at
        at += distance


def _months(local: datetime, length: timedelta) -> Iterator[datetime]:
    """Yield the starts of months from the last tick before a time."""
    all_months = length / timedelta(days=30)
    fitting = (each for each in _MONTHS if all_months <= each * _MAX_TICKS)
    distance = next(fitting, _MONTHS[-1])
    month = local.year * 12 + local.month - 1
    month -= month % distance
    while month // 12 < datetime.max.year:
        yield datetime(max(month // 12, 1), month % 12 + 1, 1)
        month += distance


def _label(at: datetime, *, has_clock: bool, has_day: bool) -> str:
    if has_clock and (at.hour or at.minute):
        return f"{at:%H:%M}"
    if has_day:
        return f"{at.day} {at:%b}"
    return f"{at:%Y}" if at.month == 1 else f"{at:%b}"
