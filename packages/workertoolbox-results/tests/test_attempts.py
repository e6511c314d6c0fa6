"""What a result keeps of a run that the state of another run replaces."""

from __future__ import annotations

from typing import Any

import pytest
from written_states import NOON, Row, at, change, row, stored, written

from cadasta.workertoolbox.results._backend.states import write_state
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ATTEMPTS,
    MAX_ERROR_BYTES,
    MAX_TRACEBACK,
)
from cadasta.workertoolbox.results.backend import Backend

#: A run that is replaced, and another one that replaces it.
RUN: Row = {
    **{"retries": 1, "queue": "export", "worker": "a@host", "error_group": "1:ab"},
    **{"published_at": at(-2), "started_at": at(-1), "result": b'{"a": "\\\\"}'},
    "traceback": "Traceback",
}
OTHER: Row = {**RUN, "started_at": at(1), "worker": "b@host"}


def outcomes(found: Row) -> list[str]:
    return [attempt["outcome"] for attempt in found["attempts"] or ()]


@pytest.mark.parametrize(
    ("status", "has_ended", "has_failed"),
    [
        ("FAILURE", True, True),
        ("RETRY", True, True),
        ("REVOKED", True, True),
        ("SUCCESS", True, False),
        ("IGNORED", True, False),
        ("REJECTED", True, False),
        ("LOST", True, False),
        ("STARTED", False, False),
        ("PROGRESS", False, False),
    ],
)
def test_a_replaced_run_is_kept_as_an_attempt(
    backend: Backend, status: str, has_ended: bool, has_failed: bool
) -> None:
    write_state(backend.database, row(status, **RUN))
    change(backend, forgotten=True)
    [attempt] = written(backend, row("STARTED", 1, **OTHER))["attempts"]

    assert attempt == {
        **{"retries": 1, "queue": "export", "worker": "a@host", "error_group": "1:ab"},
        "published_at": stored_text(-2),
        "started_at": stored_text(-1),
        "finished_at": stored_text(0) if has_ended else None,
        "outcome": status if has_ended else "LOST",
        "error": '{"a": "\\\\"}' if has_failed else None,
        "traceback": "Traceback",
    }


def stored_text(minute: float) -> str:
    """Return an instant as SQLite stores it."""
    return at(minute).strftime("%Y-%m-%d %H:%M:%S.%f")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"published_at": at(-2)}, "LOST"),
        ({"published_at": at(-3)}, "LOST"),
        ({"published_at": None}, "LOST"),
        ({"published_at": at(0)}, "REPLACED"),
        ({"published_at": at(0), "retries": None}, "REPLACED"),
        ({"published_at": at(0), "retries": 0}, "REPLACED"),
        ({"published_at": at(0), "retries": 2}, "LOST"),
    ],
)
def test_a_run_without_an_end_was_lost_or_its_task_was_published_again(
    backend: Backend, changes: Row, outcome: str
) -> None:
    found = written(
        backend, row("STARTED", **RUN), row("SUCCESS", 2, **{**OTHER, **changes})
    )

    assert outcomes(found) == [outcome]


@pytest.mark.parametrize(
    ("changes", "is_other"),
    [
        ({}, False),
        ({"worker": "b@host"}, False),
        ({"started_at": None, "worker": "b@host"}, False),
        ({"started_at": at(-1 + 0.199 / 60)}, False),
        ({"started_at": at(-1 - 0.199 / 60)}, False),
        ({"started_at": at(-1 + 0.201 / 60)}, True),
        ({"started_at": at(-1 - 0.201 / 60)}, True),
        ({"started_at": at(-0.999), "worker": "b@host"}, True),
        ({"started_at": at(-0.999), "retries": 2}, True),
        ({"started_at": at(-0.999), "published_at": at(-1.5)}, True),
        ({"started_at": at(-0.999), "worker": None}, False),
        ({"started_at": at(-0.999), "retries": None}, False),
        ({"started_at": at(-0.999), "published_at": None}, False),
    ],
)
def test_a_run_is_known_by_its_start_its_worker_and_its_message(
    backend: Backend, changes: Row, is_other: bool
) -> None:
    found = written(
        backend, row("STARTED", **RUN), row("SUCCESS", 2, **{**RUN, **changes})
    )

    assert (outcomes(found) != []) == is_other


@pytest.mark.parametrize(
    ("status", "retries", "is_kept"),
    [
        ("RETRY", 0, False),
        ("RETRY", 1, True),
        ("STARTED", 0, True),
        ("STARTED", 1, True),
        ("SUCCESS", 0, True),
        ("REVOKED", None, True),
    ],
)
def test_a_retry_is_kept_as_soon_as_the_task_goes_on(
    backend: Backend, status: str, retries: int | None, is_kept: bool
) -> None:
    found = written(backend, row("RETRY", retries=0), row(status, 1, retries=retries))

    assert outcomes(found) == (["RETRY"] if is_kept else [])


def test_earlier_attempts_stay_while_a_run_goes_on(backend: Backend) -> None:
    again = {**OTHER, "retries": 2}
    found = written(
        backend,
        row("RETRY", **RUN),
        row("STARTED", 1, **again),
        row("SUCCESS", 2, **again),
    )

    assert outcomes(found) == ["RETRY"]


@pytest.mark.parametrize(
    ("forgotten", "minute", "is_kept"),
    [(True, 1, True), (True, 0, False), (False, 1, False), (None, 1, False)],
)
def test_a_forgotten_run_is_kept_when_the_task_runs_again(
    backend: Backend, forgotten: bool | None, minute: float, is_kept: bool
) -> None:
    # The same time of the end: a statement that is repeated is not a new run.
    write_state(backend.database, row("FAILURE"))
    change(backend, forgotten=forgotten)
    found = written(backend, row("FAILURE", minute))

    assert outcomes(found) == (["FAILURE"] if is_kept else [])


def test_long_errors_keep_their_beginning_and_long_tracebacks_their_end(
    backend: Backend,
) -> None:
    run = {
        **RUN,
        "result": b"<" + b"x" * MAX_ERROR_BYTES,
        "traceback": "x" * MAX_TRACEBACK + ">",
    }
    found = written(backend, row("RETRY", **run), row("STARTED", 1, **OTHER))
    [attempt] = found["attempts"]

    assert attempt["error"] == "<" + "x" * (MAX_ERROR_BYTES - 1)
    assert attempt["traceback"] == "x" * (MAX_TRACEBACK - 1) + ">"


@pytest.mark.parametrize("status", ["STARTED", "SUCCESS"])
@pytest.mark.parametrize("missing", [1, 0])
def test_the_oldest_of_too_many_attempts_is_dropped(
    backend: Backend, status: str, missing: int
) -> None:
    earlier = [{"worker": str(number)} for number in range(MAX_ATTEMPTS - missing)]
    write_state(backend.database, row(status, **RUN))
    change(backend, attempts=earlier)
    [*others, last] = written(backend, row("FAILURE", 2, **OTHER))["attempts"]

    assert others == earlier[1 - missing :]
    assert last["worker"] == ("a@host" if status == "STARTED" else "b@host")


def test_a_run_that_ends_after_the_success_has_a_record_of_its_own(
    backend: Backend,
) -> None:
    found = written(backend, row("SUCCESS", **RUN), row("FAILURE", 2, **OTHER))

    assert found["attempts"] == [
        {
            **{"retries": 1, "queue": "export", "worker": "b@host"},
            **{"error_group": "1:ab", "error": '{"a": "\\\\"}'},
            "published_at": at(-2).isoformat(),
            "started_at": at(1).isoformat(),
            "finished_at": at(2).replace(tzinfo=None).isoformat(),
            **{"outcome": "DUPLICATE", "traceback": "Traceback"},
        }
    ]


@pytest.mark.parametrize(
    ("last", "count"),
    [
        ({"started_at": at(1).isoformat(), "outcome": "DUPLICATE"}, 2),
        ({"started_at": at(1).isoformat(), "outcome": "LOST"}, 3),
        ({"started_at": at(0).isoformat(), "outcome": "DUPLICATE"}, 3),
        ({"started_at": None, "outcome": "DUPLICATE"}, 3),
        ({}, 3),
    ],
)
def test_a_duplicate_is_kept_once_if_its_statement_is_repeated(
    backend: Backend, last: Any, count: int
) -> None:
    write_state(backend.database, row("SUCCESS", **RUN))
    change(backend, attempts=[{"started_at": NOON.isoformat()}, last])
    write_state(backend.database, row("FAILURE", 2, **OTHER))

    assert len(stored(backend)["attempts"]) == count
