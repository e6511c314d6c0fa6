"""The scales of charts: every value is on the axis, and ticks are round."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadasta.workertoolbox.results.web.drawing.scales import (
    DurationScale,
    NumberScale,
    short_number,
    time_ticks,
)

BERLIN = ZoneInfo("Europe/Berlin")


@given(st.floats(0, 1e12))
def test_a_scale_of_numbers_has_few_round_ticks_from_zero(highest: float) -> None:
    scale = NumberScale.up_to(highest)
    top = scale.step * scale.steps

    assert highest <= top
    assert top - scale.step < max(highest, 1)
    assert 1 <= scale.steps <= 4
    assert str(scale.step).rstrip("0") in ("1", "2", "5")
    assert [scale.place(n * scale.step) for n in range(scale.steps + 1)] == [
        pytest.approx(tick.place) for tick in scale.ticks
    ]
    assert (scale.ticks[0].place, scale.ticks[-1].place) == (0, 1)


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0", "1"]),
        (1, ["0", "1"]),
        (3, ["0", "1", "2", "3"]),
        (7, ["0", "2", "4", "6", "8"]),
        (100, ["0", "50", "100"]),
        (101, ["0", "50", "100", "150"]),
        (9_999, ["0", "5k", "10k"]),
        (1_400_000, ["0", "500k", "1M", "1.5M"]),
    ],
)
def test_numbers_have_short_labels(highest: float, labels: list[str]) -> None:
    assert [tick.label for tick in NumberScale.up_to(highest).ticks] == labels


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_every_duration_is_on_its_scale(one: float, other: float) -> None:
    scale = DurationScale.between(min(one, other), max(one, other))
    places = [tick.place for tick in scale.ticks]

    assert scale.lowest < scale.highest
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == pytest.approx(1)
    assert 0 <= scale.place(min(one, other)) <= scale.place(max(one, other)) <= 1.0001


@pytest.mark.parametrize(
    ("lowest", "highest", "labels"),
    [
        (0.02, 0.09, ["10 ms", "100 ms"]),
        (1, 1, ["1 s", "10 s"]),
        (0, 0, ["1 ms", "10 ms"]),
        (3, 601, ["1 s", "10 s", "1 min", "10 min", "1 h"]),
        (1e9, 1e9, ["100 d", "1000 d"]),
    ],
)
def test_durations_have_ticks_with_units(
    lowest: float, highest: float, labels: list[str]
) -> None:
    scale = DurationScale.between(lowest, highest)

    assert [tick.label for tick in scale.ticks] == labels


@pytest.mark.parametrize("number", [0, 999, 1000, 2500, 40_000_000, 3 * 10**12])
def test_a_short_number_is_exact(number: int) -> None:
    label = short_number(number)
    power = {"k": 3, "M": 6, "G": 9, "T": 12}.get(label[-1], 0)

    assert float(label.rstrip("kMGT")) * 10**power == number
    assert len(label) <= 5


@given(
    st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1)),
    st.floats(1, 60 * 24 * 366 * 15),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]),
)
def test_a_window_has_a_few_ticks_in_order(
    start: datetime, minutes: float, zone: str
) -> None:
    since = start.replace(tzinfo=UTC)
    ticks = time_ticks(since, since + timedelta(minutes=minutes), ZoneInfo(zone))
    places = [tick.place for tick in ticks]

    assert places == sorted({*places})
    assert all(0 <= place < 1 for place in places)
    assert 1 <= len(ticks) <= 8
    assert all(later - each > 0.07 for each, later in pairwise(places))


def test_midnight_is_shown_as_its_day() -> None:
    since = datetime(2026, 11, 28, 21, 30, tzinfo=UTC)

    ticks = time_ticks(since, since + timedelta(hours=3), BERLIN)

    assert [(tick.label, round(tick.place * 6, 9)) for tick in ticks] == [
        *(("22:30", 0), ("23:00", 1), ("23:30", 2)),
        *(("29 Nov", 3), ("00:30", 4), ("01:00", 5)),
    ]


def test_the_hour_that_clocks_leave_out_has_no_tick() -> None:
    since = datetime(2026, 3, 28, 23, tzinfo=UTC)
    ticks = time_ticks(since, since + timedelta(hours=6), BERLIN)

    assert [tick.label for tick in ticks] == [
        *("29 Mar", "01:00", "03:00", "04:00", "05:00", "06:00")
    ]
    assert [round(tick.place * 6) for tick in ticks] == [0, 1, 2, 3, 4, 5]


def test_the_hour_that_clocks_show_twice_is_one_tick() -> None:
    since = datetime(2026, 10, 24, 22, tzinfo=UTC)
    ticks = time_ticks(since, since + timedelta(hours=6), BERLIN)

    assert [(tick.label, round(tick.place * 6)) for tick in ticks] == [
        *(("25 Oct", 0), ("01:00", 1), ("02:00", 2), ("03:00", 4), ("04:00", 5))
    ]
