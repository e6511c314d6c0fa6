"""The backlog of each queue: what waits, what runs, and who consumes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import states
from messages import message
from sqlalchemy import insert

from cadasta.workertoolbox.results import QueueBacklog, TaskStore
from cadasta.workertoolbox.results._database.tables import history, taskmeta
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tally import Contribution
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store import queues

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = timedelta(minutes=1)


def publish(
    store: TaskStore, queue: str, *ids: str, at: datetime = NOW, **headers: Any
) -> None:
    """Store messages, as a monitor does."""
    headers["workertoolbox_published_at"] = at.isoformat()
    records = [
        read_task(message(id=id, routing_key=queue, **headers), seen_at=at)
        for id in ids
    ]
    with store.engine.begin() as connection:
        write_batch(connection, records)


def store_state(
    store: TaskStore, id: str, status: str, *, at: datetime = NOW, **values: Any
) -> None:
    """Store a state, as a worker does."""
    row = {"task_id": id, "status": status, "date_done": at.replace(tzinfo=None)}
    with store.engine.begin() as connection:
        connection.execute(insert(taskmeta).values(**row, **values))


def archived(id: str, *, at: datetime, **values: Any) -> dict[str, Any]:
    """Return a row of the history."""
    return {
        **{"id": id, "keep": "default", "day": at.date(), "status": "SUCCESS"},
        **{"finished_at": at, "listed_at": at, "tracked": True, "forgotten": False},
        **values,
    }


def by_queue(store: TaskStore) -> dict[str, QueueBacklog]:
    return {each.queue: each for each in store.backlog()}


def test_the_backlog_has_what_waits_and_what_runs_in_each_queue(
    store: TaskStore,
) -> None:
    publish(store, "export", "1", "2", "3", at=NOW - 5 * MINUTE)
    publish(store, "export", "4", at=NOW - 9 * MINUTE, eta=(NOW - MINUTE).isoformat())
    publish(store, "export", "5", at=NOW, eta=(NOW + MINUTE).isoformat())
    publish(store, "msg", "6", "7", "8", "9")
    store_state(store, "1", states.STARTED, queue="export", worker="a@host")
    store_state(store, "6", "PROGRESS", worker="b@host")
    store_state(store, "7", states.RETRY, queue="msg", worker="c@host")
    store_state(store, "8", states.SUCCESS, queue="msg", worker="d@host")
    found = store.backlog()

    assert [each.queue for each in found] == ["export", "msg"]
    export, msg = found
    assert (export.queued, export.scheduled, export.running) == (3, 1, 1)
    assert (msg.queued, msg.scheduled, msg.running, msg.retrying) == (1, 0, 1, 1)
    assert 299 < export.oldest_s < 360
    assert export.consumers == ["a@host"]
    assert msg.consumers == ["b@host", "d@host"]
    assert (export.ended_at, msg.ended_at) == (None, NOW)
    assert export.drain_s is None
    assert NOW <= export.counted_at <= datetime.now(UTC)


def test_a_task_with_an_eta_waits_from_then_on(store: TaskStore) -> None:
    publish(
        store, "export", "1", at=NOW - 9 * MINUTE, eta=(NOW - 2 * MINUTE).isoformat()
    )

    assert 119 < by_queue(store)["export"].oldest_s < 180


def test_consumers_are_workers_that_have_run_tasks_of_the_queue_lately(
    store: TaskStore,
) -> None:
    rows = [
        archived("1", at=NOW - 3 * MINUTE, queue="export", worker="new@host"),
        archived("2", at=NOW - 50 * MINUTE, queue="export", worker="old@host"),
        archived("3", at=NOW - 70 * MINUTE, queue="export", worker="gone@host"),
        archived("4", at=NOW - 3 * MINUTE, queue="export", status="REVOKED")
        | {"worker": "revoking@host"},
        archived("5", at=NOW - 3 * MINUTE, queue="msg", worker="other@host"),
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(history), [{"worker": None, **row} for row in rows])
    publish(store, "export", "6")
    export = by_queue(store)["export"]

    assert export.consumers == ["new@host", "old@host"]
    assert export.ended_at == NOW - 3 * MINUTE


def test_the_time_to_drain_is_that_at_the_throughput_of_the_last_minutes(
    store: TaskStore,
) -> None:
    tasks = [
        Contribution("a", "export", status, NOW - ago * MINUTE)
        for status, ago in (
            *[("SUCCESS", 3)] * 20,
            *[("FAILURE", 4)] * 10,
            *[("RETRY", 3)] * 5,
            ("SUCCESS", 30),
        )
    ]
    idle = Contribution("a", "idle", "SUCCESS", NOW - 30 * MINUTE)
    gone = Contribution("a", "gone", "SUCCESS", NOW - 90 * MINUTE)
    with store.engine.begin() as connection:
        add_contributions(connection, [*tasks, idle, gone])
    publish(store, "export", *map(str, range(6)))
    publish(store, "idle", "i")
    found = by_queue(store)

    assert found.keys() == {"export", "idle"}
    assert found["export"].per_second == pytest.approx(30 / 600)
    assert found["export"].drain_s == pytest.approx(120)
    assert found["idle"].drain_s is None


def test_of_many_tasks_the_numbers_are_those_of_the_last_sample(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_ROWS", 2)
    publish(store, "export", "1", "2", at=NOW - 5 * MINUTE)
    publish(store, "msg", "3", eta=(NOW + MINUTE).isoformat())
    unsampled = by_queue(store)
    with store.engine.begin() as connection:
        sample_backlog(connection, NOW - 2 * MINUTE)
    publish(store, "msg", "4")
    sampled = by_queue(store)

    assert unsampled.keys() == {"export", "msg"}
    assert {each.queued for each in unsampled.values()} == {None}
    assert unsampled["export"].drain_s is None
    assert (sampled["export"].queued, sampled["export"].oldest_s) == (2, 180)
    assert (sampled["msg"].queued, sampled["msg"].scheduled) == (0, 1)
    assert sampled["msg"].counted_at == (NOW - 2 * MINUTE).replace(second=0)


def test_the_backlog_of_an_empty_database_is_empty(store: TaskStore) -> None:
    assert store.backlog() == []
