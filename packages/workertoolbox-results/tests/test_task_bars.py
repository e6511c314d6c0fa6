"""What a task did when, from its attempts and its times."""

from __future__ import annotations

from typing import Any

import pytest
from workflow_tasks import at, not_run, planned, queued, task

from cadasta.workertoolbox.results import Attempt, Task
from cadasta.workertoolbox.results.web.drawing.task_bars import find_spans


def spans(one: Task, *attempts: Attempt) -> list[tuple[str, float, float]]:
    """Return the spans of a task a hundred seconds after the workflow began."""
    begin, now = at(0), at(100)
    assert begin is not None and now is not None
    return [
        (each.kind, (each.since - begin).total_seconds(), each.seconds)
        for each in find_spans(one, attempts, now)
    ]


def attempt(
    published: float | None,
    started: float | None,
    ended: float | None,
    outcome: str | None,
    **values: Any,
) -> Attempt:
    return Attempt(
        **{"retries": 0, "queue": "export", "worker": "w", **values},
        scheduled_at=at(published),
        started_at=at(started),
        finished_at=at(ended),
        outcome=outcome,
    )


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (task("a", published=1, started=3, ended=7), [("wait", 1, 2), ("run", 3, 4)]),
        (task("a", published=5, started=5, ended=5), [("run", 5, 0)]),
        (queued("a", published=10), [("wait", 10, 90)]),
        (
            queued("a", published=10, eta=at(130), status="SCHEDULED"),
            [("delay", 10, 90)],
        ),
        (
            task("a", published=10, started=50, ended=60, eta=at(40)),
            [("delay", 10, 30), ("wait", 40, 10), ("run", 50, 10)],
        ),
        (
            task("a", published=10, started=20, ended=None),
            [("wait", 10, 10), ("running", 20, 80)],
        ),
        (
            task("a", published=0, started=1, ended=4, status="FAILURE"),
            [("wait", 0, 1), ("failed", 1, 3)],
        ),
        # A worker without `task_track_started` stores no starts.
        (task("a", published=2, started=None, ended=6), [("unknown", 2, 4)]),
        (task("a", published=None, started=2, ended=6), [("run", 2, 4)]),
        (planned("a"), []),
        (not_run("a"), []),
    ],
)
def test_a_task_has_its_waits_and_runs(
    one: Task, expected: list[tuple[str, float, float]]
) -> None:
    assert spans(one) == expected


def test_each_attempt_has_a_wait_and_a_run() -> None:
    retried = task("a", published=0, started=20, ended=25, retries=1)
    first = attempt(0, 1, 3, "RETRY")
    last = attempt(3, 20, 25, "SUCCESS", retries=1)

    assert spans(retried, first, last) == [
        *(("wait", 0, 1), ("retried", 1, 2)),
        *(("wait", 3, 17), ("run", 20, 5)),
    ]


def test_a_lost_run_lasts_until_the_next_one() -> None:
    redelivered = task("a", published=0, started=30, ended=40)
    lost = attempt(0, 2, None, "LOST")
    last = attempt(None, 30, 40, "SUCCESS")

    assert spans(redelivered, lost, last) == [
        *(("wait", 0, 2), ("retried", 2, 28), ("run", 30, 10)),
    ]


def test_a_task_that_waits_for_its_retry_is_not_running() -> None:
    waiting = queued("a", published=0, status="RETRY", retries=1, eta=at(120))
    attempts = [attempt(0, 1, 3, "RETRY"), attempt(3, None, None, None)]

    assert spans(waiting, *attempts) == [
        *(("wait", 0, 1), ("retried", 1, 2), ("delay", 3, 97)),
    ]
