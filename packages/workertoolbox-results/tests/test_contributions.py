"""What a row of the history adds to the rollups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from stored_tasks import store_ended

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.tally import Contribution

SECOND = timedelta(seconds=1)


def contributions(store: TaskStore, **values: Any) -> Sequence[Contribution]:
    """Store one ended task, and return what it adds."""
    store_ended(store, "1", **values)
    with store.engine.connect() as connection:
        columns = contribution_columns(connection.dialect.name)
        rows = connection.execute(select(*columns).select_from(history)).all()
    return [*contributions_of(rows)]


def durations(store: TaskStore, **values: Any) -> tuple[float | None, ...]:
    """Return the whole seconds that a task waited, ran and took, or None."""
    [found] = contributions(store, **values)
    seconds = (found.waited_s, found.ran_s, found.took_s)
    return tuple(each if each is None else round(each) for each in seconds)


def test_a_task_adds_what_is_known_of_it(store: TaskStore, now: datetime) -> None:
    values = {"name": "export.map", "queue": "maps", "error_group": "1:ab"}

    assert contributions(store, at=now, status="FAILURE", retries=2, **values) == [
        Contribution(
            *("export.map", "maps", "FAILURE", now),
            retries=2,
            error_group="1:ab",
        )
    ]


def test_an_unknown_task_has_no_name_queue_and_retries(
    store: TaskStore, now: datetime
) -> None:
    store_ended(store, "1", at=now)
    with store.engine.begin() as connection:
        connection.execute(history.update().values(name=None, queue=None))
        columns = contribution_columns(connection.dialect.name)
        rows = connection.execute(select(*columns).select_from(history)).all()

    assert [*contributions_of(rows)] == [Contribution("", "", "SUCCESS", now)]


def test_times_are_measured_between_instants(store: TaskStore, now: datetime) -> None:
    times = {"scheduled_at": now - 10 * SECOND, "started_at": now - 4 * SECOND}

    assert durations(store, at=now, **times) == (6, 4, 10)


def test_a_task_with_an_eta_waits_from_then_on(store: TaskStore, now: datetime) -> None:
    times = {"scheduled_at": now - 10 * SECOND, "started_at": now - 4 * SECOND}

    assert durations(store, at=now, **times, eta=now - 5 * SECOND) == (1, 4, 10)


def test_an_eta_that_was_over_does_not_count(store: TaskStore, now: datetime) -> None:
    times = {"scheduled_at": now - 10 * SECOND, "started_at": now - 4 * SECOND}

    assert durations(store, at=now, **times, eta=now - 60 * SECOND) == (6, 4, 10)


@pytest.mark.parametrize(
    ("values", "wait_s"),
    [
        ({"waited_s": 2.0}, 2),
        ({"waited_s": 2.0, "retries": 1}, 2),
        # Between the message of a retry and its start, nothing was measured.
        ({"retries": 1}, None),
        ({"retries": 0}, 6),
        ({"waited_s": -1.0}, 0),
        ({"waited_s": 0.0}, 0),
    ],
)
def test_the_wait_that_a_worker_has_measured_counts(
    store: TaskStore, now: datetime, values: dict[str, Any], wait_s: float | None
) -> None:
    times = {"scheduled_at": now - 10 * SECOND, "started_at": now - 4 * SECOND}

    assert durations(store, at=now, **times, **values) == (wait_s, 4, 10)


def test_clocks_that_differ_make_no_negative_times(
    store: TaskStore, now: datetime
) -> None:
    times = {"scheduled_at": now + 9 * SECOND, "started_at": now + 4 * SECOND}

    assert durations(store, at=now, **times) == (0, 0, 0)


@pytest.mark.parametrize(
    ("status", "ran_s", "took_s"),
    [
        ("SUCCESS", 4, 10),
        ("FAILURE", 4, 10),
        ("REVOKED", 4, None),
        ("REJECTED", 4, None),
        # When it ended is not known.
        ("LOST", None, None),
    ],
)
def test_only_a_run_to_its_end_has_a_time_from_end_to_end(
    store: TaskStore,
    now: datetime,
    status: str,
    ran_s: float | None,
    took_s: float | None,
) -> None:
    times = {"scheduled_at": now - 10 * SECOND, "started_at": now - 4 * SECOND}

    assert durations(store, at=now, status=status, **times) == (6, ran_s, took_s)


def attempt(outcome: str, at: datetime | None, **values: Any) -> dict[str, Any]:
    finished_at = None if at is None else at.isoformat()
    return {"outcome": outcome, "finished_at": finished_at, "queue": "msg", **values}


def test_a_retried_attempt_is_counted_when_it_ended(
    store: TaskStore, now: datetime
) -> None:
    attempts = [
        attempt("RETRY", now - 9 * SECOND, error_group="1:ab"),
        attempt("RETRY", now - 6 * SECOND) | {"queue": None},
        # Nobody knows when these ended, or they are no retries.
        attempt("RETRY", None),
        attempt("LOST", now - 3 * SECOND),
    ]
    task, *retries = contributions(store, at=now, attempts=attempts, retries=3)

    assert (task.retries, task.redeliveries) == (3, 1)
    assert retries == [
        Contribution(
            *("a", "msg", "RETRY", now - 9 * SECOND),
            retries=1,
            error_group="1:ab",
        ),
        Contribution("a", "", "RETRY", now - 6 * SECOND, retries=1),
    ]


def test_lost_and_duplicate_runs_are_redeliveries(
    store: TaskStore, now: datetime
) -> None:
    outcomes = ("LOST", "DUPLICATE", "RETRY", "LOST", "SUCCESS")
    attempts = [attempt(each, now) for each in outcomes]
    task, *_ = contributions(store, at=now, attempts=attempts)

    assert task.redeliveries == 3
