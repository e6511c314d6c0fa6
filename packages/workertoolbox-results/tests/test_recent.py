"""Counting of recent tasks by status and queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from celery import states
from messages import message
from sqlalchemy import insert

from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.recent import (
    count_recent,
    limit_labels,
)
from cadasta.workertoolbox.results.backend import Backend


def ago(**duration: float) -> datetime:
    return datetime.now(UTC) - timedelta(**duration)


def track(
    backend: Backend, id: str, *, published_at: datetime, queue: str, **headers: str
) -> None:
    published = published_at.isoformat()
    task = message(
        id=id, routing_key=queue, workertoolbox_published_at=published, **headers
    )
    with backend.database.engine.begin() as connection:
        write_batch(connection, [read_task(task, seen_at=datetime.now(UTC))])


def store_result(backend: Backend, id: str, status: str, *, at: datetime) -> None:
    row = {"task_id": id, "status": status, "date_done": naive_utc(at)}
    with backend.database.engine.begin() as connection:
        connection.execute(insert(taskmeta).values(row))


def test_tasks_of_the_last_hour_are_counted_by_status_and_queue(
    backend: Backend,
) -> None:
    for id in ("1", "2", "3"):
        track(backend, id, published_at=ago(minutes=59), queue="export")
    track(backend, "4", published_at=ago(minutes=1), queue="msg")
    for id, minutes in (("due", 1), ("ahead", -1)):
        eta = ago(minutes=minutes).isoformat()
        track(backend, id, published_at=ago(minutes=2), queue="msg", eta=eta)
    track(backend, "old", published_at=ago(minutes=61), queue="export")
    store_result(backend, "1", states.SUCCESS, at=ago(minutes=58))
    store_result(backend, "2", "PROGRESS", at=ago(minutes=58))

    assert count_recent(backend.database.engine).tasks == {
        ("SUCCESS", "export"): 1,
        ("other", "export"): 1,
        ("QUEUED", "export"): 1,
        ("QUEUED", "msg"): 2,
        ("SCHEDULED", "msg"): 1,
    }


def test_celerys_own_tasks_are_not_counted(backend: Backend) -> None:
    internal = {"unlock": "celery.chord_unlock", "cleanup": "celery.backend_cleanup"}
    for id, name in internal.items():
        track(backend, id, published_at=ago(minutes=1), queue="celery", task=name)
    track(backend, "1", published_at=ago(minutes=1), queue="celery")

    assert count_recent(backend.database.engine).tasks == {("QUEUED", "celery"): 1}


def test_a_result_without_a_task_is_untracked_after_a_minute(
    backend: Backend,
) -> None:
    track(backend, "tracked", published_at=ago(minutes=3), queue="export")
    for id, minutes in (("tracked", 2), ("a", 2), ("b", 59), ("new", 0.5), ("old", 61)):
        store_result(backend, id, states.SUCCESS, at=ago(minutes=minutes))

    assert count_recent(backend.database.engine).untracked == 2


def test_the_number_of_labels_is_limited_however_many_queues_there_are() -> None:
    counts = {("SUCCESS", f"queue-{number}"): number for number in range(1, 1001)}
    counts["FAILURE", "queue-1000"] = 7
    labels = limit_labels(counts)

    assert {queue for _, queue in labels} == {
        "other",
        *(f"queue-{number}" for number in range(951, 1001)),
    }
    assert labels["FAILURE", "queue-1000"] == 7
    assert labels["SUCCESS", "other"] == sum(range(951))
