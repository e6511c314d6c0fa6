"""The small charts in tables."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cadasta.workertoolbox.results.web.drawing.sparklines import sparkline


@pytest.mark.parametrize(
    ("numbers", "zeros", "bars"),
    [
        ([], 0, 0),
        ([0, 0], 2, 0),
        ([1, 0, 10_000], 1, 2),
        ([0.5], 0, 1),
    ],
)
def test_each_number_is_a_bar_and_each_zero_a_short_line(
    numbers: list[float], zeros: int, bars: int
) -> None:
    svg = ElementTree.fromstring(sparkline(numbers))
    paths = [path.attrib["d"] for path in svg.iter("path")]

    assert [path.count("M") for path in paths] == [zeros, bars]


def test_the_highest_bar_is_the_largest_number() -> None:
    svg = ElementTree.fromstring(sparkline([1, 2, 4]))
    d = [*svg.iter("path")][1].attrib["d"]

    assert [part.split("v-")[1].split("h")[0] for part in d.split("M")[1:]] == [
        "5.2",
        "10.5",
        "21.0",
    ]


def test_a_title_says_what_the_bars_are() -> None:
    svg = ElementTree.fromstring(sparkline([3, 12_345], "<errors> by hour"))

    assert svg.attrib["aria-label"] == "<errors> by hour: at most 12,345"
