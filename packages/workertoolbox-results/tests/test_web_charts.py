"""Charts: each value is drawn where the axes say, and shown as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cadasta.workertoolbox.results import Release
from cadasta.workertoolbox.results.web.drawing.charts import (
    HEIGHT,
    Chart,
    Series,
    Steps,
    bar_chart,
    line_chart,
)

MINUTE = timedelta(minutes=1)
START = datetime(2026, 11, 28, 22, 58, tzinfo=UTC)


def steps(count: int, *, known: float | None = None, zone: str = "UTC") -> Steps:
    return Steps(
        since=[START + number * MINUTE for number in range(count)],
        until=START + count * MINUTE,
        known_until=START + (count if known is None else known) * MINUTE,
        zone=ZoneInfo(zone),
    )


def bars(chart: Chart) -> dict[str, list[tuple[float, ...]]]:
    """Return left side, bottom and height of the bars of each tone."""
    form = re.compile(r"M(\S+) (\S+)v-(\S+)h8v\3z")
    return {
        each.tone: [tuple(map(float, found)) for found in form.findall(each.path)]
        for each in chart.shapes
    }


def test_a_release_is_marked_where_it_appears() -> None:
    release = Release(service="shop", version="1.4", first_at=START + 1.5 * MINUTE)
    outside = [
        Release(service=None, version="1.3", first_at=START - MINUTE),
        Release(service=None, version="1.5", first_at=START + 3 * MINUTE),
    ]
    axis = replace(steps(3), releases=[release, *outside])
    chart = bar_chart("Tasks", "tasks", axis, [*of(1, 2, 3)])
    [mark] = chart.marks

    assert (mark.name, mark.x, mark.lines) == ("1.4", "50.000%", ["50.000%"])
    assert mark.title == "shop 1.4 first seen Sat 28 Nov 22:59"
    assert [mark.title in each.title for each in chart.slots] == [False, True, False]
    assert chart.label == "Tasks, tasks: at most 3; release mark: 1.4"


def of(*values: float | None) -> Sequence[Series]:
    return [Series("p50", "p50", values)]


def test_bars_are_stacked_from_zero() -> None:
    failed = Series("failed", "bad", [0, 5, 10])
    others = Series("not failed", "usual", [20, 15, 0])
    chart = bar_chart("Tasks", "tasks per minute", steps(3), [failed, others])

    assert bars(chart) == {
        "usual": [(1, HEIGHT, HEIGHT), (11, HEIGHT * 0.75, HEIGHT * 0.75)],
        "bad": [(11, HEIGHT, HEIGHT / 4), (21, HEIGHT, HEIGHT / 2)],
    }
    assert chart.width == 30
    assert [label for _, label in chart.left] == ["0", "5", "10", "15", "20"]
    assert chart.label == "Tasks, tasks per minute: at most 20"


def test_a_single_failure_among_many_tasks_is_visible() -> None:
    series = [Series("failed", "bad", [1]), Series("not failed", "usual", [99_999])]
    chart = bar_chart("Tasks", "tasks", steps(1), series)

    assert bars(chart)["bad"] == [(1, HEIGHT, 1)]


def test_a_step_that_is_not_complete_is_marked() -> None:
    series = [Series("tasks", "usual", [4, 2])]
    chart = bar_chart("Tasks", "tasks", steps(2, known=1.5), series)

    assert [*bars(chart)] == ["usual", "usual partial"]
    assert chart.slots[0].title == "Sat 28 Nov 22:58 – 22:59\ntasks 4"
    assert chart.slots[1].title == (
        "Sat 28 Nov 22:59 – 22:59\ntasks 2\nnot complete yet"
    )


def test_times_are_those_of_the_viewer() -> None:
    chart = bar_chart(
        "Tasks", "tasks", steps(3, zone="Asia/Kathmandu"), [*of(1, 12_345, 0)]
    )

    assert chart.slots[1].title == "Sun 29 Nov 04:44 – 04:45\np50 12,345"
    assert chart.below == [
        *(("0.000%", "04:43"), ("33.333%", "04:44"), ("66.667%", "04:45"))
    ]


def test_a_step_over_midnight_names_both_days() -> None:
    chart = bar_chart("Tasks", "tasks", steps(2, zone="Europe/Berlin"), [*of(0, 0)])

    assert chart.slots[1].title == "Sat 28 Nov 23:59 – 29 Nov 00:00\np50 0"


def test_a_line_has_gaps_where_values_are_not_known() -> None:
    chart = line_chart(
        "Waits", "logarithmic", steps(5), [*of(0.01, 0.1, None, 1, None)]
    )

    assert [label for _, label in chart.left] == ["10 ms", "100 ms", "1 s"]
    assert [each.path for each in chart.shapes] == ["M5 150.0h0L15 75.0M35 0.0h0"]
    assert [each.title.partition("\n")[2] for each in chart.slots] == [
        *("p50 10 ms", "p50 100 ms", "p50 –", "p50 1.0 s", "p50 –")
    ]


@pytest.mark.parametrize("draw", [bar_chart, line_chart])
def test_a_chart_without_values_says_so(draw: type[object]) -> None:
    chart = draw("Waits", "logarithmic", steps(2), [*of(None, None)])  # type: ignore[call-arg]
    assert isinstance(chart, Chart)

    assert chart.label == "Waits, logarithmic: nothing"
    assert "".join(each.path for each in chart.shapes) == ""
