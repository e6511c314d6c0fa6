"""The sentence and the evidence of a task that runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import Cause, TaskStore
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution

HOUR = 60 * MINUTE
DAY = 24 * HOUR


def run(store: TaskStore, id: str, at: datetime, **values: Any) -> None:
    """Store a task that has run since an instant."""
    given = {"name": "a", "worker": "a@host", "queue": "export"}
    store_state(store, id, "STARTED", at=at, **{"started_at": at, **given, **values})


def make_usual(store: TaskStore, now: datetime, ran_s: float) -> None:
    """Store the figures of a hundred tasks of a name."""
    ended = Contribution("a", "export", "SUCCESS", now, ran_s=ran_s)
    with store.engine.begin() as connection:
        add_contributions(connection, [ended] * 100)


def shown(at: datetime, ago: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} ({ago} ago)"


def found(store: TaskStore) -> tuple[Cause, str, dict[str, Any]]:
    """Return the cause, the predicate and the evidence without the running time."""
    reason = store.why("1")
    evidence = dict(reason.evidence)
    evidence["running_s"] = round(evidence["running_s"], -1)
    return reason.cause, reason.sentence.split("[1] ", 1)[1], evidence


def test_a_running_task_has_its_limits(store: TaskStore, now: datetime) -> None:
    at = now - 30 * MINUTE
    publish(store, "export", "1", task="a", at=now - HOUR, timelimit=[7200, None])
    make_usual(store, now, 3600.0)
    run(store, "1", at)
    cause, words, evidence = found(store)
    p99_s = evidence.pop("p99_s")

    assert cause == Cause.RUNNING
    assert p99_s == pytest.approx(3600, rel=0.2)
    assert words == (
        f"has been running on a@host since {shown(at, '30.0 min')}; 99 in 100 tasks of "
        f"its name take up to {duration_text(p99_s)} and its time limit is 2.0 h."
    )
    assert evidence == {
        "started_at": at.isoformat(),
        "running_s": 1800,
        "worker": "a@host",
        "queue": "export",
        "time_limit_s": 7200.0,
        "state": "STARTED",
    }


@pytest.mark.parametrize(
    ("minutes", "cause"), [(59, Cause.RUNNING), (61, Cause.RUNNING_LONG)]
)
def test_a_task_of_an_unknown_name_runs_for_long_after_an_hour(
    store: TaskStore, now: datetime, minutes: int, cause: Cause
) -> None:
    at = now - minutes * MINUTE
    publish(store, "export", "1", at=now - DAY)
    run(store, "1", at, worker=None)
    known, words, evidence = found(store)

    assert known == cause
    assert words.startswith(f"has been running on an unknown worker since {at:%Y-%m}")
    assert "worker_seen_at" not in evidence


@pytest.mark.parametrize(
    ("seconds", "cause"), [(50, Cause.RUNNING), (70, Cause.RUNNING_LONG)]
)
def test_a_task_does_not_run_for_long_in_its_first_minute(
    store: TaskStore, now: datetime, seconds: int, cause: Cause
) -> None:
    publish(store, "export", "1", task="a", at=now - HOUR, timelimit=[1, None])
    run(store, "1", now - timedelta(seconds=seconds))

    assert found(store)[0] == cause


def test_a_start_that_is_not_stored_is_that_of_the_state(
    store: TaskStore, now: datetime
) -> None:
    at = now - 30 * MINUTE
    publish(store, "export", "1", at=now - HOUR)
    store_state(store, "1", "PROGRESS", at=at)
    cause, words, evidence = found(store)

    assert (cause, evidence["started_at"]) == (Cause.RUNNING, at.isoformat())
    assert evidence["state"] == "PROGRESS"
    since = shown(at, "30.0 min")
    assert words == f"has been running on an unknown worker since {since}."


def test_a_silent_worker_was_last_seen_when_it_started_or_ended_a_task(
    store: TaskStore, now: datetime
) -> None:
    at = now - 2 * HOUR
    publish(store, "export", "1", at=now - DAY)
    run(store, "1", at)
    since = shown(at, "2.0 h")
    silent = f"has run on a@host since {since}, and a@host has stored nothing since "

    assert found(store)[:2] == (Cause.WORKER_SILENT, f"{silent}then.")
    store_ended(store, "0", at=now - 3 * HOUR, worker="a@host")
    assert found(store)[1] == f"{silent}then."
    run(store, "2", now - HOUR)
    run(store, "3", now, worker="b@host")
    store_ended(store, "4", at=now, worker="b@host")
    store_state(store, "5", "SUCCESS", at=now, worker="b@host", name="a")
    _, words, evidence = found(store)
    assert words == f"{silent}{shown(now - HOUR, '1.0 h')}."
    assert evidence["worker_seen_at"] == (now - HOUR).isoformat()
    store_ended(store, "6", at=now - 40 * MINUTE, worker="a@host")
    assert found(store)[2]["worker_seen_at"] == (now - 40 * MINUTE).isoformat()
    store_state(store, "7", "SUCCESS", at=now - MINUTE, worker="a@host", name="a")
    assert found(store)[0] == Cause.RUNNING_LONG
    assert found(store)[2]["worker_seen_at"] == (now - MINUTE).isoformat()


@pytest.mark.parametrize(
    ("minutes", "cause"), [(4, Cause.RUNNING_LONG), (6, Cause.WORKER_SILENT)]
)
def test_a_worker_is_silent_after_five_minutes(
    store: TaskStore, now: datetime, minutes: int, cause: Cause
) -> None:
    publish(store, "export", "1", at=now - DAY)
    run(store, "1", now - 3 * HOUR)
    run(store, "2", now - minutes * MINUTE)

    assert found(store)[0] == cause


@pytest.mark.parametrize("days", [6, 9])
def test_the_ends_of_a_worker_are_searched_for_a_week(
    store: TaskStore, now: datetime, days: int
) -> None:
    at = now - 20 * DAY
    publish(store, "export", "1", at=at)
    run(store, "1", at)
    store_ended(store, "2", at=now - days * DAY, worker="a@host")
    seen_at = found(store)[2]["worker_seen_at"]
    with store.engine.begin() as connection:
        connection.execute(delete(history))

    assert seen_at == (now - 6 * DAY if days == 6 else at).isoformat()
    assert found(store)[2]["worker_seen_at"] == at.isoformat()


def lost(now: datetime, *workers: str | None) -> list[dict[str, Any]]:
    """Return attempts that never ended."""
    empty = dict.fromkeys(
        ("queue", "error", "error_group", "traceback", "published_at", "finished_at")
    )
    return [
        {
            **empty,
            **{"retries": 0, "worker": worker, "outcome": "LOST"},
            "started_at": (now - (20 - number) * MINUTE).isoformat(),
        }
        for number, worker in enumerate(workers)
    ]


@pytest.mark.parametrize(
    ("workers", "words", "known"),
    [
        ((None,), "2 times, because 1 run never ended", []),
        (("b@host",), "2 times, because 1 run on b@host never ended", ["b@host"]),
        (
            ("c@host", "b@host", "c@host"),
            "4 times, because 3 runs on b@host and c@host never ended",
            ["b@host", "c@host"],
        ),
    ],
)
def test_a_redelivered_task_says_how_often_and_where(
    store: TaskStore,
    now: datetime,
    workers: tuple[str | None, ...],
    words: str,
    known: list[str],
) -> None:
    at = now - 5 * MINUTE
    publish(store, "export", "1", at=now - 30 * MINUTE)
    run(store, "1", at, attempts=lost(now, *workers))

    assert found(store) == (
        Cause.REDELIVERED,
        f"has been delivered {words}, and has been running on a@host since "
        f"{shown(at, '5.0 min')}.",
        {
            "started_at": at.isoformat(),
            "running_s": 300,
            "worker": "a@host",
            "queue": "export",
            "state": "STARTED",
            "deliveries": len(workers) + 1,
            "lost_workers": known,
        },
    )
