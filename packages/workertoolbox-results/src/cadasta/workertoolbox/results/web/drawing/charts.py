"""Charts of numbers and durations over time, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import NamedTuple

from cadasta.workertoolbox.results._store.figures.releases import Release
from cadasta.workertoolbox.results.web.drawing.release_marks import (
    Mark,
    Placed,
    place_marks,
)
from cadasta.workertoolbox.results.web.drawing.scales import (
    DurationScale,
    NumberScale,
    Scale,
    Tick,
    time_ticks,
)
from cadasta.workertoolbox.results.web.wording.formats import UNKNOWN, count, duration

#: Height in pixels of the area between the axes.
HEIGHT = 150

#: Width of a step in the coordinates of a drawing, which is stretched to the width of
#: the chart, and the width of a bar in it.
_STEP, _BAR = 10, 8


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time.

    Attributes:
        title: What they are.
        tone: The class of its color.
        values: One for each step; None where it is not known.
    """

    title: str
    tone: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a chart, one after the other.

    Attributes:
        since: The start of each step.
        until: The end of the last one.
        known_until: Values are only known up to then.
        zone: The time zone of the viewer.
        releases: The versions of services that appear in them.
    """

    since: Sequence[datetime]
    until: datetime
    known_until: datetime
    zone: tzinfo
    releases: Sequence[Release] = ()

    def title(self, number: int) -> str:
        """Return the time of a step in words."""
        since = self.since[number].astimezone(self.zone)
        end = [*self.since, self.until][number + 1]
        until = min(end, self.known_until).astimezone(self.zone)
        day = f"{since:%a} {since.day} {since:%b}"
        last = "" if since.date() == until.date() else f"{until.day} {until:%b} "
        return f"{day} {since:%H:%M} – {last}{until:%H:%M}"

    def is_partial(self, number: int) -> bool:
        """Return whether not all values of a step are known."""
        return [*self.since, self.until][number + 1] > self.known_until

    def ticks(self) -> Sequence[Tick]:
        """Return the ticks of the horizontal axis."""
        return time_ticks(self.since[0], self.until, self.zone)

    def releases_in(self, number: int) -> Sequence[Release]:
        """Return the versions that appear in a step, the earliest first."""
        since, until = self.since[number], [*self.since, self.until][number + 1]
        found = (each for each in self.releases if since <= each.first_at < until)
        return sorted(found, key=lambda each: each.first_at)

    def marks(self) -> Sequence[Mark]:
        """Return the marks of the versions that appear."""
        since, length = self.since[0], self.until - self.since[0]
        return place_marks(
            [
                Placed((each.first_at - since) / length, each)
                for number in range(len(self.since))
                for each in self.releases_in(number)
            ]
        )

    def release_text(self, release: Release) -> str:
        """Return a version, its service, and when it appeared."""
        at = release.first_at.astimezone(self.zone)
        name = f"{release.service or ''} {release.version}".strip()
        return f"{name} first seen {at:%a} {at.day} {at:%b} {at:%H:%M}"


class Slot(NamedTuple):
    """The area of a step, from `x`, with the text that is shown on hover."""

    x: str
    title: str


class ReleaseMark(NamedTuple):
    """Lines in percent from the left, and their name, with the text shown on hover."""

    lines: Sequence[str]
    x: str
    anchor: str
    name: str
    title: str


class Shape(NamedTuple):
    """Bars or a line: a path in units of `_STEP` for each step, and pixels down."""

    path: str
    tone: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that templates draw.

    Attributes:
        title: What it shows.
        unit: What the numbers of the vertical axis are.
        series: What is drawn.
        highest: The largest value, as text; None without any value but zero.
        left: Pixels from the top, and labels, of the vertical axis.
        below: Percent from the left, and labels, of the horizontal axis.
        shapes: Bars, or lines.
        kind: `bar` or `line`.
        marks: The releases that appear in it.
        slots: The steps.
        width: The width of all steps in the coordinates of shapes.
        slot_width: The width of one in percent.
    """

    title: str
    unit: str
    series: Sequence[Series]
    highest: str | None
    left: Sequence[tuple[str, str]]
    below: Sequence[tuple[str, str]]
    shapes: Sequence[Shape]
    kind: str
    marks: Sequence[ReleaseMark]
    slots: Sequence[Slot]
    width: int
    slot_width: str

    @property
    def label(self) -> str:
        """The chart in words, for screen readers."""
        most = "nothing" if self.highest is None else f"at most {self.highest}"
        names = "".join(f"; release mark: {each.name}" for each in self.marks)
        return f"{self.title}, {self.unit}: {most}{names}"


def bar_chart(title: str, unit: str, steps: Steps, series: Sequence[Series]) -> Chart:
    """Return a chart of numbers, those of each step stacked upon each other."""
    totals = [
        sum(value or 0 for value in values)
        for values in zip(*(each.values for each in series), strict=True)
    ]
    highest = max(totals, default=0)
    scale = NumberScale.up_to(highest)
    paths: dict[str, list[str]] = {}
    for number in range(len(steps.since)):
        below = 0.0
        for each in series:
            value = each.values[number] or 0
            if value:
                tone = f"{each.tone} partial" if steps.is_partial(number) else each.tone
                bar = _bar(scale, number, below, value)
                paths.setdefault(tone, []).append(bar)
            below += value
    shapes = [Shape("".join(bars), tone) for tone, bars in paths.items()]
    return _chart(title, unit, steps, series, scale, _count, highest, shapes)


def line_chart(title: str, unit: str, steps: Steps, series: Sequence[Series]) -> Chart:
    """Return a chart of durations in seconds, with a line for each series."""
    known = [value for each in series for value in each.values if value is not None]
    highest = max(known, default=0.0)
    scale = DurationScale.between(min(known, default=0.0), highest)
    shapes = [Shape(_path(scale, each.values), each.tone) for each in series]
    return _chart(title, unit, steps, series, scale, duration, highest, shapes)


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else count(round(value))


def _chart(
    title: str,
    unit: str,
    steps: Steps,
    series: Sequence[Series],
    scale: Scale,
    write: Callable[[float | None], str],
    highest: float,
    shapes: Sequence[Shape],
) -> Chart:
    size = len(steps.since)
    return Chart(
        title=title,
        unit=unit,
        series=series,
        highest=write(highest) if highest else None,
        left=[(_down(each.place), each.label) for each in scale.ticks],
        below=[(_percent(each.place), each.label) for each in steps.ticks()],
        shapes=shapes,
        kind="bar" if isinstance(scale, NumberScale) else "line",
        marks=_marks(steps),
        slots=_slots(steps, series, write),
        width=size * _STEP,
        slot_width=_percent(1 / size),
    )


def _slots(
    steps: Steps, series: Sequence[Series], write: Callable[[float | None], str]
) -> Sequence[Slot]:
    slots, size = [], len(steps.since)
    for number in range(size):
        values = [f"{each.title} {write(each.values[number])}" for each in series]
        note = ["not complete yet"] if steps.is_partial(number) else []
        releases = [steps.release_text(each) for each in steps.releases_in(number)]
        text = "\n".join([steps.title(number), *values, *note, *releases])
        slots.append(Slot(_percent(number / size), text))
    return slots


def _marks(steps: Steps) -> Sequence[ReleaseMark]:
    return [
        ReleaseMark(
            lines=[_percent(place) for place in each.lines],
            x=_percent(each.place),
            anchor=each.anchor,
            name=each.name,
            title="\n".join(map(steps.release_text, each.releases)),
        )
        for each in steps.marks()
    ]


def _bar(scale: Scale, number: int, below: float, value: float) -> str:
    bottom, top = (HEIGHT * (1 - scale.place(each)) for each in (below, below + value))
    height = max(bottom - top, 1.0)  # A single failure among thousands is visible.
    left = number * _STEP + (_STEP - _BAR) / 2
    return f"M{left:g} {bottom:.1f}v{-height:.1f}h{_BAR}v{height:.1f}z"


def _path(scale: Scale, values: Sequence[float | None]) -> str:
    """Return a line through the middles of steps, with gaps where values are None."""
    parts = []
    is_open = False
    for number, value in enumerate(values):
        if value is not None:
            point = f"{(number + 0.5) * _STEP:g} {_down(scale.place(value))}"
            # A line of no length is a dot.
            parts.append(f"L{point}" if is_open else f"M{point}h0")
        is_open = value is not None
    return "".join(parts)


def _down(place: float) -> str:
    return f"{HEIGHT * (1 - place):.1f}"


def _percent(share: float) -> str:
    return f"{share * 100:.3f}%"
