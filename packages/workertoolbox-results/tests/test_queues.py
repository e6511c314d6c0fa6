"""The backlog of each queue: waiting and running tasks, and its workers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from celery import states
from stored_tasks import MINUTE, publish, store_ended, store_state

from cadasta.workertoolbox.results import QueueBacklog, TaskStore
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._store.figures import queues


def by_queue(store: TaskStore) -> dict[str, QueueBacklog]:
    return {each.queue: each for each in store.backlog()}


def test_the_backlog_has_what_waits_and_what_runs_in_each_queue(
    store: TaskStore,
    now: datetime,
) -> None:
    publish(store, "export", "1", "2", "3", at=now - 5 * MINUTE)
    publish(store, "export", "4", at=now - 9 * MINUTE, eta=(now - MINUTE).isoformat())
    publish(store, "export", "5", at=now, eta=(now + 60 * MINUTE).isoformat())
    publish(store, "msg", "6", "7", "8", "9")
    store_state(store, "1", states.STARTED, queue="export", worker="a@host")
    store_state(store, "6", "PROGRESS", worker="b@host")
    store_state(store, "7", states.RETRY, queue="msg", worker="c@host")
    store_state(store, "8", states.SUCCESS, at=now, queue="msg", worker="d@host")
    found = store.backlog()

    assert [each.queue for each in found] == ["export", "msg"]
    export, msg = found
    assert (export.queued, export.scheduled, export.running) == (3, 1, 1)
    assert (msg.queued, msg.scheduled, msg.running, msg.retrying) == (1, 0, 1, 1)
    since = now - 5 * MINUTE
    assert export.oldest_s == (export.counted_at - since).total_seconds()
    assert export.consumers == ["a@host"]
    assert msg.consumers == ["b@host", "d@host"]
    assert (export.ended_at, msg.ended_at) == (None, now)
    assert export.drain_s is None
    assert now <= export.counted_at <= datetime.now(UTC)


def test_a_task_with_an_eta_waits_from_then_on(store: TaskStore, now: datetime) -> None:
    publish(
        store, "export", "1", at=now - 9 * MINUTE, eta=(now - 2 * MINUTE).isoformat()
    )

    export = by_queue(store)["export"]
    since = now - 2 * MINUTE
    assert export.oldest_s == (export.counted_at - since).total_seconds()


def test_consumers_are_workers_that_have_run_tasks_of_the_queue_lately(
    store: TaskStore,
    now: datetime,
) -> None:
    store_ended(store, "1", at=now - 3 * MINUTE, worker="new@host")
    store_ended(store, "2", at=now - 50 * MINUTE, worker="old@host")
    store_ended(store, "3", at=now - 70 * MINUTE, worker="gone@host")
    store_ended(store, "4", at=now - MINUTE, worker="c@host", status="REVOKED")
    store_ended(store, "5", at=now - MINUTE, worker="other@host", queue="msg")
    publish(store, "export", "6")
    export = by_queue(store)["export"]

    assert export.consumers == ["new@host", "old@host"]
    assert export.ended_at == now - 3 * MINUTE


def test_a_worker_whose_task_has_ended_just_now_is_a_consumer(
    store: TaskStore,
    now: datetime,
) -> None:
    store_ended(store, "1", at=now - MINUTE / 12, worker="new@host")

    assert by_queue(store)["export"].consumers == ["new@host"]


def test_the_time_to_drain_assumes_the_throughput_of_the_last_minutes(
    store: TaskStore,
    now: datetime,
) -> None:
    tasks = [
        Contribution("a", "export", status, now - ago * MINUTE)
        for status, ago in (
            *[("SUCCESS", 3)] * 20,
            *[("FAILURE", 4)] * 10,
            *[("RETRY", 3)] * 5,
            ("SUCCESS", 30),
        )
    ]
    idle = Contribution("a", "idle", "SUCCESS", now - 30 * MINUTE)
    gone = Contribution("a", "gone", "SUCCESS", now - 90 * MINUTE)
    with store.engine.begin() as connection:
        add_contributions(connection, [*tasks, idle, gone])
    publish(store, "export", *map(str, range(6)))
    publish(store, "idle", "i")
    found = by_queue(store)

    assert found.keys() == {"export", "idle"}
    assert found["export"].per_second == pytest.approx(30 / 600)
    assert found["export"].drain_s == pytest.approx(120)
    assert found["idle"].drain_s is None


def test_a_backlog_of_many_tasks_is_that_of_the_last_sample(
    store: TaskStore, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_COUNTED", 2)
    publish(store, "export", "1", "2", at=now - 5 * MINUTE)
    publish(store, "msg", "3", eta=(now + 60 * MINUTE).isoformat())
    unsampled = by_queue(store)
    with store.engine.begin() as connection:
        sample_backlog(connection, now - 2 * MINUTE)
    publish(store, "msg", "4")
    sampled = by_queue(store)

    assert unsampled.keys() == {"export", "msg"}
    assert {each.queued for each in unsampled.values()} == {None}
    assert unsampled["export"].drain_s is None
    assert (sampled["export"].queued, sampled["export"].oldest_s) == (2, 180)
    assert (sampled["msg"].queued, sampled["msg"].scheduled) == (0, 1)
    assert sampled["msg"].counted_at == (now - 2 * MINUTE).replace(second=0)


def test_the_backlog_of_an_empty_database_is_empty(store: TaskStore) -> None:
    assert store.backlog() == []
