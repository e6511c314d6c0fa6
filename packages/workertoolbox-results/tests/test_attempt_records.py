"""Records of attempts, and how those of two sources are merged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cadasta.workertoolbox.results._history import attempt_records
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ERROR_BYTES,
    MAX_TRACEBACK,
    attempt_record,
    ended_attempts,
    merge_attempts,
    read_instant,
)

Row = dict[str, Any]

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def row(**values: Any) -> Row:
    """Return the columns of an end."""
    return {
        **{"status": "FAILURE", "result": b'{"a": 1}', "traceback": "Traceback"},
        **{"retries": 2, "queue": "export", "worker": "a@host", "error_group": "1:ab"},
        **{"published_at": NOON, "started_at": NOON + timedelta(minutes=1)},
        **{"finished_at": NOON + timedelta(minutes=2), "attempts": None, **values},
    }


def run(start: str | None, end: str | None = None) -> Row:
    """Return a record of a run."""
    return {"started_at": start, "finished_at": end}


def test_a_record_has_the_values_of_the_end() -> None:
    record = attempt_record(row(), finished_at=NOON, outcome="LOST")

    assert record == {
        "retries": 2,
        "queue": "export",
        "worker": "a@host",
        "error_group": "1:ab",
        "published_at": "2026-11-28T12:00:00+00:00",
        "started_at": "2026-11-28T12:01:00+00:00",
        "finished_at": "2026-11-28T12:00:00+00:00",
        "outcome": "LOST",
        "error": '{"a": 1}',
        "traceback": "Traceback",
    }


def test_a_record_is_empty_where_the_end_has_no_value() -> None:
    given = {"status": "FAILURE", "result": None}
    record = attempt_record(given, finished_at=None, outcome="FAILURE")

    assert {name for name, value in record.items() if value is not None} == {"outcome"}
    assert record.keys() == attempt_record(row(), finished_at=NOON, outcome="").keys()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("FAILURE", "no"),
        ("RETRY", "no"),
        ("REVOKED", "no"),
        ("SUCCESS", None),
        ("LOST", None),
    ],
)
def test_only_a_state_with_an_exception_has_an_error(
    status: str, error: str | None
) -> None:
    given = row(status=status, result=b"no")

    assert attempt_record(given, finished_at=NOON, outcome="")["error"] == error


def test_a_long_error_keeps_its_beginning_and_a_traceback_its_end() -> None:
    given = row(
        result=b"<" + b"x" * MAX_ERROR_BYTES, traceback="x" * MAX_TRACEBACK + ">"
    )
    record = attempt_record(given, finished_at=NOON, outcome="")

    assert record["error"] == "<" + "x" * (MAX_ERROR_BYTES - 1)
    assert record["traceback"] == "x" * (MAX_TRACEBACK - 1) + ">"


def test_an_error_that_is_not_text_is_readable() -> None:
    record = attempt_record(row(result=b"\x80\x00a"), finished_at=NOON, outcome="")

    assert record["error"] == "\\x80\\x00a"


@pytest.mark.parametrize("earlier", [None, [], [run("2026-11-28T11:00:00+00:00")]])
def test_the_last_attempt_follows_the_earlier_ones(earlier: list[Row] | None) -> None:
    given = row(attempts=earlier)
    last = attempt_record(given, finished_at=given["finished_at"], outcome="FAILURE")

    assert ended_attempts(given) == [*(earlier or ()), last]


ONE, TWO, THREE = (run(f"2026-11-28T12:0{n}:00+00:00") for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("earlier", "later", "last_run_at", "merged"),
    [
        ([ONE], [], None, [ONE]),
        ([ONE], [TWO], None, [ONE, TWO]),
        ([ONE, TWO], [TWO], None, [ONE, TWO]),
        ([ONE], [ONE], None, None),
        ([ONE], [ONE, TWO], None, None),
        ([], [TWO], None, None),
        ([ONE], [TWO], NOON + timedelta(minutes=1), None),
        ([ONE, THREE], [TWO], NOON + timedelta(minutes=1), [THREE, TWO]),
        ([run(None, "2026-11-28T12:01:00+00:00")], [ONE], None, None),
        ([run(None, "2026-11-28T12:01:00")], [ONE], None, None),
        ([run("2026-11-28T12:02:00", "2026-11-28T12:01:00")], [ONE], None, True),
        ([run(None)], [ONE], NOON, True),
        ([run(None)], [run(None)], NOON, None),
    ],
)
def test_each_run_is_kept_once(
    earlier: list[Row], later: list[Row], last_run_at: Any, merged: Any
) -> None:
    if merged is True:
        merged = [*earlier, *later]

    assert merge_attempts(earlier, later, last_run_at=last_run_at) == merged


def test_the_oldest_of_too_many_attempts_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempt_records, "MAX_ATTEMPTS", 2)

    assert merge_attempts([ONE, TWO], [THREE], last_run_at=None) == [TWO, THREE]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        (None, None),
        ("2026-11-28T12:00:00", NOON),
        ("2026-11-28T14:00:00+02:00", NOON),
    ],
)
def test_an_instant_without_a_zone_is_in_utc(
    text: str | None, instant: datetime | None
) -> None:
    found = read_instant(text)

    assert found == instant
    assert found is None or found.tzinfo is not None
