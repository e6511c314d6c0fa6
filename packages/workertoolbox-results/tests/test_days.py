"""The day under which the history keeps a task."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from cadasta.workertoolbox.results._history.days import DAYS_APART, day_of_end

TODAY = date(2026, 3, 10)


def end(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("ended_at", "since", "day"),
    [
        ("2026-03-10T09:00", None, "2026-03-10"),
        ("2026-03-11T09:00", None, "2026-03-11"),
        ("2025-11-30T00:00", None, "2025-11-30"),
        ("2025-11-29T23:00", "2025-11-29T22:00", "2025-11-30"),
        ("2024-02-01T09:00", "2024-01-31T09:00", "2024-02-29"),
        ("2019-07-31T23:59", "2019-08-01T09:00", "2019-07-31"),
    ],
)
def test_an_end_is_kept_by_its_day_and_an_old_one_by_its_month(
    ended_at: str, since: str | None, day: str
) -> None:
    published = None if since is None else end(since)
    kept = day_of_end(end(ended_at), since=published, today=TODAY)

    assert kept == date.fromisoformat(day)
    assert kept >= end(ended_at).date()


@pytest.mark.parametrize(
    ("ended_at", "since"),
    [
        ("2026-03-12T09:00", "2026-03-10T09:00"),
        ("2099-12-31T09:00", None),
        ("1970-01-01T00:00", "2026-03-10T09:00"),
        ("2024-02-01T09:00", "2024-02-03T09:00"),
        ("2024-02-01T09:00", None),
    ],
)
def test_an_end_by_a_wrong_clock_is_kept_by_today(
    ended_at: str, since: str | None
) -> None:
    published = None if since is None else end(since)

    assert day_of_end(end(ended_at), since=published, today=TODAY) == TODAY


def test_ten_years_of_history_need_few_tables() -> None:
    ends = [end("2026-03-10T00:00") - timedelta(days=n) for n in range(3650)]
    days = {day_of_end(each, since=each, today=TODAY) for each in ends}

    assert len(days) <= DAYS_APART + 10 * 12 + 1
