"""Tasks that wait or run for longer than almost all others of their name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from celery import states
from stored_tasks import MINUTE, publish, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._store.search import unusual


@pytest.fixture(autouse=True)
def ended(store: TaskStore, now: datetime) -> None:
    """Store figures of tasks that are quick, and of others that take half an hour."""
    tasks = [
        Contribution(name, "export", status, now, waited_s=waited_s, ran_s=ran_s)
        for name, status, waited_s, ran_s, count in (
            ("quick", "SUCCESS", 1000.0, 5.0, 990),
            ("quick", "FAILURE", 1000.0, 900.0, 10),
            ("report", "SUCCESS", 1.0, 1800.0, 7),
        )
        for _ in range(count)
    ]
    with store.engine.begin() as connection:
        add_contributions(connection, tasks)


def run(store: TaskStore, name: str, *ids: str, minutes: float) -> None:
    """Store tasks that have run for some minutes."""
    at = datetime.now(UTC).replace(microsecond=0) - minutes * MINUTE
    publish(store, "export", *ids, at=at, task=name)
    for id in ids:
        store_state(store, id, states.STARTED, at=at, started_at=at, name=name)


def ids(store: TaskStore, **values: object) -> Sequence[str]:
    return [each.task.id for each in store.stuck_by_p99(**values)]  # type: ignore[arg-type]


def test_a_running_task_is_compared_with_the_run_times_of_its_name(
    store: TaskStore,
    now: datetime,
) -> None:
    run(store, "quick", "slow", minutes=2)
    run(store, "report", "usual", minutes=25)
    run(store, "report", "hangs", minutes=40)
    run(store, "unknown", "first", minutes=3)
    found = {each.task.id: each for each in store.stuck_by_p99()}

    assert [*found] == ["hangs", "first", "slow"]
    assert found["hangs"].p99_s == pytest.approx(1800, rel=0.02)
    assert 2400 <= found["hangs"].for_s < 2460
    assert now - found["hangs"].since <= 40 * MINUTE
    assert found["first"].p99_s is None
    assert found["slow"].p99_s == pytest.approx(5, rel=0.02)


def test_a_waiting_task_is_compared_with_the_waits_of_its_name(
    store: TaskStore,
    now: datetime,
) -> None:
    publish(store, "export", "usual", at=now - 10 * MINUTE, task="quick")
    publish(store, "export", "late", at=now - 30 * MINUTE, task="quick")
    publish(store, "msg", "other", at=now - 30 * MINUTE, task="quick")
    eta = (now + 90 * MINUTE).isoformat()
    publish(store, "export", "ahead", at=now - 90 * MINUTE, task="quick", eta=eta)
    publish(store, "export", "retried", at=now - 90 * MINUTE, task="quick")
    store_state(store, "retried", states.RETRY, at=now - 40 * MINUTE, name="quick")

    assert ids(store) == ["retried", "late", "other"]
    assert ids(store, queue="msg") == ["other"]
    assert ids(store, at_least=35 * MINUTE) == ["retried"]
    assert ids(store, limit=1) == ["retried"]
    assert ids(store, name="report") == []


def test_tasks_are_compared_in_batches(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unusual, "BATCH_SIZE", 2)
    run(store, "report", *"abcde", minutes=20)
    run(store, "quick", *"vwxyz", minutes=10)

    assert ids(store) == [*"vwxyz"]


def test_more_tasks_are_compared_if_few_of_the_longest_are_unusual(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unusual, "CANDIDATES", (2, 4))
    run(store, "report", *"ab", minutes=20)
    run(store, "quick", *"xyz", minutes=10)

    assert ids(store) == ["x", "y"]
    assert ids(store, limit=1) == ["x"]
