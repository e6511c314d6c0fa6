"""The axis of time of the bars of tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cadasta.workertoolbox.results.web.drawing.time_axis import TimeAxis

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def axis(seconds: float, width: float = 100.0) -> TimeAxis:
    return TimeAxis(BEGIN, BEGIN + timedelta(seconds=seconds), width)


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [
        (0, ["0", "1 ms"]),
        (0.004, ["0", "1 ms", "2 ms", "3 ms", "4 ms"]),
        (0.9, ["0", "0.2 s", "0.4 s", "0.6 s", "0.8 s"]),
        (90, ["0", "15 s", "30 s", "45 s", "60 s", "75 s", "90 s"]),
        (175, ["0", "0.5 min", "1 min", "1.5 min", "2 min", "2.5 min"]),
        (3 * 3600, ["0", "0.5 h", "1 h", "1.5 h", "2 h", "2.5 h", "3 h"]),
        (86_400 * 40, ["0", "10 d", "20 d", "30 d", "40 d"]),
        (86_400 * 2_900_000, ["0", "500,000 d", "1,000,000 d"]),
    ],
)
def test_ticks_are_at_round_times(seconds: float, texts: list[str]) -> None:
    ticks = axis(seconds).ticks()

    assert [each.text for each in ticks][: len(texts)] == texts
    assert len(ticks) <= 7
    assert ticks[0].x == 0 and all(0 <= each.x <= 100 for each in ticks)


def test_places_are_shares_of_the_width_and_never_outside() -> None:
    found = axis(10, width=80)
    places = [found.place(BEGIN + timedelta(seconds=s)) for s in (-1, 0, 5, 10, 99)]

    assert places == [0, 0, 40, 80, 80]
