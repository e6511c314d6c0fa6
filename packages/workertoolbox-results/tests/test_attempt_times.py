"""The time line of a task."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results.web.drawing.attempt_times import MAX_DRAWN, time_line

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def second(number: float) -> datetime:
    return NOW + timedelta(seconds=number)


def attempt(*times: float | None, **values: Any) -> Attempt:
    """Return an attempt that was published, started and finished at these seconds."""
    at = [None if each is None else second(each) for each in times]
    names = ("scheduled_at", "started_at", "finished_at")
    given: dict[str, Any] = {**dict(zip(names, at, strict=True)), **values}
    return Attempt(retries=0, queue="a", **given)


def task(status: str, **values: Any) -> Task:
    names = (
        *("name", "queue", "args", "kwargs", "root_id", "parent_id", "group_id"),
        *("retries", "scheduled_at", "eta", "started_at", "finished_at", "worker"),
        *("result", "traceback"),
    )
    blank = dict.fromkeys(names)
    return Task(**{**blank, "id": "1", "status": status, "tracked": True, **values})


def test_attempts_wait_and_run_one_after_the_other() -> None:
    attempts = [
        attempt(0, 10, 20, outcome="RETRY"),
        attempt(20, 80, 100, outcome="SUCCESS"),
    ]
    ended = task("SUCCESS", finished_at=second(100), eta=second(75))
    line = time_line(ended, attempts, is_over=True, now=second(5000))

    assert line is not None
    assert [
        [(bar.tone, bar.x, bar.width, bar.title) for bar in row.bars]
        for row in line.rows
    ] == [
        [("waited", 0, 10, "waited for 10.0 s"), ("warn", 10, 10, "ran for 10.0 s")],
        [("waited", 20, 60, "waited for 1.0 min"), ("good", 80, 20, "ran for 20.0 s")],
    ]
    assert line.eta_x == 75
    assert [each.text for each in line.ticks] == ["0", "0.5 min", "1 min", "1.5 min"]


@pytest.mark.parametrize(
    ("status", "times", "title"),
    [
        ("QUEUED", (0, None, None), "has waited for 50.0 s"),
        ("STARTED", (0, 10, None), "waited for 10.0 s, has run for 40.0 s"),
    ],
)
def test_an_open_attempt_goes_on_until_now(
    status: str, times: tuple[float | None, ...], title: str
) -> None:
    line = time_line(task(status), [attempt(*times)], is_over=False, now=second(50))

    assert line is not None
    assert line.rows[0].title == title
    assert line.rows[0].outcome == status
    assert line.rows[0].bars[-1].x + line.rows[0].bars[-1].width == 100


def test_a_lost_run_ends_when_the_next_one_begins() -> None:
    attempts = [
        attempt(0, 10, None, outcome="LOST"),
        attempt(0, 60, 100, outcome="SUCCESS"),
    ]
    line = time_line(task("SUCCESS"), attempts, is_over=True, now=second(100))

    assert line is not None
    lost = line.rows[0].bars[-1]
    assert (lost.tone, lost.is_open, lost.title) == ("bad", True, "its end is unknown")


def test_of_many_attempts_the_last_are_drawn() -> None:
    attempts = [attempt(n, n + 0.5, n + 1, outcome="RETRY") for n in range(90)]
    line = time_line(task("RETRY"), attempts, is_over=False, now=second(90))

    assert line is not None
    assert len(line.rows) == MAX_DRAWN
    assert line.left_out == 90 - MAX_DRAWN
    assert line.rows[-1].number == 90


@pytest.mark.parametrize(
    "attempts", [[], [attempt(None, None, None)], [attempt(0, 0, 0)]]
)
def test_without_times_there_is_no_line(attempts: list[Attempt]) -> None:
    ended = task("SUCCESS", finished_at=second(0))

    assert time_line(ended, attempts, is_over=True, now=second(9)) is None


def test_clocks_that_disagree_make_no_negative_bars() -> None:
    first = replace(attempt(10, 5, 2, outcome="SUCCESS"))
    line = time_line(task("SUCCESS"), [first], is_over=True, now=second(20))

    assert line is not None
    assert all(bar.width >= 0 for bar in line.rows[0].bars)
