"""Marks of new releases on a chart: where the versions of services appear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cadasta.workertoolbox.results._store.figures.releases import Release

#: Maximum number of characters of a version in the name of a mark.
MAX_NAME = 12

#: Width of a character of a name, and of the gap between two names, as shares of the
#: width of a narrow chart: 6.3 and 8 of 300 pixels.
_CHARACTER, _GAP = 0.021, 0.027


class Placed(NamedTuple):
    """A release, and where it is, as a share of the width of a chart."""

    place: float
    release: Release


class Mark(NamedTuple):
    """One or more releases with one name, so that names do not overlap.

    Attributes:
        lines: The places of the releases, as shares of the width of the chart.
        place: The place of the name.
        anchor: Which part of the name is there, as SVG's `text-anchor`.
        name: The version, if it is the only one, or else the number of releases.
        releases: All of them.
    """

    lines: Sequence[float]
    place: float
    anchor: str
    name: str
    releases: Sequence[Release]

    @property
    def extent(self) -> tuple[float, float]:
        """Where the name begins and ends."""
        width = len(self.name) * _CHARACTER
        left = {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return self.place - left, self.place - left + width


def place_marks(placed: Sequence[Placed]) -> Sequence[Mark]:
    """Return the marks of releases, from left to right.

    Args:
        placed: Releases in the order of their places.
    """
    found: list[list[Placed]] = []
    for each in placed:
        group = [each]
        # A name that gets longer may reach the one before it.
        while found and _overlap(_mark(found[-1]), _mark(group)):
            group = found.pop() + group
        found.append(group)
    return [_mark(group) for group in found]


def _overlap(left: Mark, right: Mark) -> bool:
    return left.extent[1] + _GAP > right.extent[0]


def _mark(group: Sequence[Placed]) -> Mark:
    versions = {each.release.version for each in group}
    version = min(versions)
    name = f"{len(group)} releases"
    if len(versions) == 1:
        is_long = len(version) > MAX_NAME
        name = f"{version[: MAX_NAME - 1]}…" if is_long else version
    lines = sorted({each.place for each in group})
    place, anchor = (lines[0] + lines[-1]) / 2, "middle"
    half = len(name) * _CHARACTER / 2
    if place < half:
        place, anchor = 0.0, "start"
    elif place > 1 - half:
        place, anchor = 1.0, "end"
    return Mark(lines, place, anchor, name, [each.release for each in group])
