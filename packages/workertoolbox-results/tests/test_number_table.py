"""Numbers, durations and changes as tables show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cadasta.workertoolbox.results._commands import output
from cadasta.workertoolbox.results._commands.number_table import (
    BLANK,
    Cell,
    Column,
    age_cell,
    bars,
    change_cell,
    count_cell,
    print_numbers,
    rate_unit,
    share_cell,
)
from cadasta.workertoolbox.results._duration_text import duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0003, "<1 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1.0 min"),
        (3596, "59.9 min"),
        (3599, "1.0 h"),
        (90_000, "1.0 d"),
        (86_400 * 400, "400.0 d"),
    ],
)
def test_a_duration_is_shown_in_its_largest_unit(
    seconds: float | None, text: str
) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (110, 100, "▲ 10 %"),
        (90, 100, "▼ 10 %"),
        (0, 100, "▼ 100 %"),
        (100.5, 100, ""),
        (5, 5, ""),
        (1000, 100, "▲ 900 %"),
        (2000, 100, "▲ 20×"),
        (3, 0, "▲ new"),
        (0, 0, ""),
        (None, 3, ""),
        (3, None, ""),
    ],
)
def test_a_change_is_shown_with_its_direction(
    now: float | None, before: float | None, text: str
) -> None:
    assert change_cell(now, before).text == text


def test_a_change_for_the_worse_is_red() -> None:
    assert change_cell(2, 1, more_is_worse=True).style == "red"
    assert change_cell(1, 2, more_is_worse=True).style == "green"
    assert change_cell(2, 1).style == ""


def test_numbers_have_separators_and_zeros_are_dim() -> None:
    assert count_cell(1_234_567) == Cell("1,234,567")
    assert count_cell(0) == Cell("0", "dim")
    assert count_cell(None).text == "?"
    assert share_cell(0.0213).text == "2.1 %"
    assert share_cell(0.0001).text == "<0.1 %"
    assert share_cell(1).text == "100 %"
    assert share_cell(0) == Cell("0 %", "dim")
    assert share_cell(None) == BLANK


def test_an_age_is_how_long_ago_an_instant_was() -> None:
    now = datetime.now(UTC)

    assert age_cell(now - timedelta(minutes=2), now).text == "2.0 min ago"
    assert age_cell(now + timedelta(minutes=2), now).text == "0 ms ago"
    assert age_cell(None, now) == BLANK


@pytest.mark.parametrize(
    ("rates", "unit", "texts"),
    [
        ([12.5, 0.04, 0], "s", ["12.5", "0.0", "0"]),
        ([0.5, 0.02], "min", ["30.0", "1.2"]),
        ([1e-3], "h", ["3.6"]),
        ([0.0], "d", ["0"]),
        ([2500], "s", ["2,500"]),
        ([], "d", []),
    ],
)
def test_rates_have_the_shortest_unit_in_which_they_are_readable(
    rates: list[float], unit: str, texts: list[str]
) -> None:
    found, cell = rate_unit(rates)

    assert found == unit
    assert [cell(rate).text for rate in rates] == texts


def test_bars_are_as_high_as_the_share_of_the_largest_number() -> None:
    assert bars([0, 1, 4, 8]) == " ▁▄█"
    assert bars([0, 0]) == "  "
    assert bars([1, 1000]) == "▁█"
    assert bars([]) == ""


COLUMNS = (
    Column("name", is_text=True),
    Column("tasks"),
    Column("p95", rank=1),
    Column("retries", rank=2),
    Column(""),
)

ROWS = [
    [Cell("export.site"), Cell("7"), Cell("1.5 s"), Cell("3"), BLANK],
    [Cell("a\x1b"), Cell("12,345", "red"), Cell("20 ms"), Cell("0"), BLANK],
]


def test_a_table_is_aligned_and_has_no_empty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_numbers(COLUMNS, ROWS, below=[Cell("fails"), None])

    assert capsys.readouterr().out.splitlines() == [
        "name          tasks    p95  retries",
        "export.site       7  1.5 s        3",
        "  fails",
        r"a\x1b        12,345  20 ms        0",
    ]


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (40, ["name", "tasks", "p95", "retries"]),
        (34, ["name", "tasks", "p95"]),
        (25, ["name", "tasks"]),
        (5, ["name", "tasks"]),
    ],
)
def test_a_narrow_terminal_has_the_most_important_columns(
    width: int,
    header: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output, "PIPE_WIDTH", width)
    print_numbers(COLUMNS, ROWS)

    assert capsys.readouterr().out.splitlines()[0].split() == header
