"""`assert_tracked` for tasks that are tracked, and for tasks that are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from sqlalchemy import text

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf.testing import (
    assert_tracked,
    embedded,
    running_monitor,
    running_worker,
)
from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.routing import EXCHANGE


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"]))

    @app.task(name="export.add", shared=False)
    def add(x: int, y: int = 1) -> int:
        return x + y

    @app.task(name="export.total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="export.fail", shared=False)
    def fail() -> None:
        raise ValueError("no")

    with embedded(app, tmp_path):
        yield app


@pytest.fixture
def running(app: Celery) -> Iterator[Celery]:
    with running_worker(app), running_monitor(app):
        yield app


def _change(app: Celery, statement: str, id: str) -> None:
    with TaskStore.for_app(app) as store, store.engine.begin() as connection:
        connection.execute(text(statement), {"id": id})


def test_a_task_that_succeeded(running: Celery) -> None:
    result = running.tasks["export.add"].delay(1)
    result.get(timeout=10)
    [task] = assert_tracked(running, result)

    assert (task.id, task.status, task.result) == (result.id, "SUCCESS", 2)


def test_a_task_that_failed(running: Celery) -> None:
    result = running.tasks["export.fail"].delay()
    result.get(timeout=10, propagate=False)
    [task] = assert_tracked(running, result)

    assert task.status == "FAILURE"


def test_a_task_given_by_its_id(running: Celery) -> None:
    id = running.tasks["export.add"].delay(1).id
    [task] = assert_tracked(running, id)

    assert task.id == id


def test_a_task_that_no_worker_has_seen_yet(app: Celery) -> None:
    sent = app.tasks["export.add"].delay(1)
    later = app.tasks["export.add"].apply_async((1,), countdown=60)
    with running_monitor(app):
        assert [task.status for task in assert_tracked(app, sent)] == ["QUEUED"]
        assert [task.status for task in assert_tracked(app, later)] == ["SCHEDULED"]


def test_every_step_of_a_chain(running: Celery) -> None:
    add = running.tasks["export.add"]
    result = chain(add.s(1), add.s(), add.s())()
    result.get(timeout=10)
    tasks = assert_tracked(running, result)

    assert [task.result for task in tasks] == [2, 3, 4]


def test_every_member_of_a_group(running: Celery) -> None:
    result = group(running.tasks["export.add"].s(n) for n in range(3))()
    result.get(timeout=10)
    tasks = assert_tracked(running, result)

    assert {task.group_id for task in tasks} == {result.id}
    assert len(tasks) == 3


def test_header_and_body_of_a_chord(running: Celery) -> None:
    tasks = running.tasks
    header = [tasks["export.add"].s(n) for n in range(3)]
    result = chord(header, tasks["export.total"].s())()
    result.get(timeout=10)
    names = [task.name for task in assert_tracked(running, result)]

    assert names == ["export.add", "export.add", "export.add", "export.total"]


def test_without_a_monitor_the_error_counts_the_waiting_messages(app: Celery) -> None:
    with running_worker(app):
        result = app.tasks["export.add"].delay(1)
        result.get(timeout=10)
        with pytest.raises(AssertionError) as caught:
            assert_tracked(app, result, timeout_s=0.2)

    assert str(caught.value).splitlines() == [
        "1 of 1 tasks are not tracked correctly after 0.2 s",
        f"task {result.id}: a worker stored SUCCESS, but no monitor has seen its "
        "message",
        "messages in queue 'platform.fifo': 1; is a monitor running?",
    ]


def test_a_task_that_was_never_published(running: Celery) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_tracked(running, "unheard-of", timeout_s=0.2)

    assert "unheard-of: neither a monitor nor a worker has seen it" in str(caught.value)
    assert "queue 'platform.fifo' is empty" in str(caught.value)


def test_a_planned_step_that_was_never_published(app: Celery) -> None:
    add = app.tasks["export.add"]
    result = chain(add.s(1), add.s())()
    with running_monitor(app):
        assert_tracked(app, result.parent)
        with pytest.raises(AssertionError) as caught:
            assert_tracked(app, result, timeout_s=0.2)

    assert "1 of 2 tasks" in str(caught.value)
    assert str(caught.value).splitlines()[1:] == [
        f"task {result.id}: it is planned by another task, but its own message was not "
        f"seen; no worker has run task {result.parent.id}, which it follows",
        "messages in queue 'export': 1; is a worker running?",
    ]


def test_without_worker_and_monitor_the_error_names_both(app: Celery) -> None:
    result = app.tasks["export.add"].delay(1)
    with pytest.raises(AssertionError) as caught:
        assert_tracked(app, result, timeout_s=0.2)

    assert str(caught.value).splitlines()[1:] == [
        f"task {result.id}: neither a monitor nor a worker has seen it",
        "messages in queue 'export': 1; is a worker running?",
        "messages in queue 'platform.fifo': 1; is a monitor running?",
    ]


def test_an_attempt_whose_message_was_lost(running: Celery) -> None:
    add = running.tasks["export.add"]
    result = chain(add.s(1), add.s())()
    result.get(timeout=10)
    assert_tracked(running, result)
    _change(running, "DELETE FROM workertoolbox_attempt WHERE task_id = :id", result.id)
    with pytest.raises(AssertionError) as caught:
        assert_tracked(running, result, timeout_s=0.2)

    said = f"task {result.id}: no monitor has seen the message of attempt 1"
    assert said in str(caught.value)


def test_a_message_that_cannot_be_read(running: Celery) -> None:
    running.conf.accept_content = ["json", "pickle"]
    result = running.AsyncResult("pickled")
    with running.producer_or_acquire() as producer:
        # As a service without the router of the toolbox publishes.
        producer.publish(
            ([1], {}, {}),
            serializer="pickle",
            exchange=EXCHANGE,
            routing_key="export",
            declare=list(running.amqp.queues.values()),
            headers={"id": result.id, "task": "export.add"},
        )
    with pytest.raises(AssertionError, match="messages in quarantine: 1, the latest: "):
        assert_tracked(running, result, timeout_s=1)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("queue", "queue"),
        ("name", "name"),
        ("parent_id", "parent"),
        ("root_id", "root"),
    ],
)
def test_a_row_that_disagrees_with_the_result(
    running: Celery, column: str, what: str
) -> None:
    add = running.tasks["export.add"]
    result = chain(add.s(1), add.s())()
    result.get(timeout=10)
    assert_tracked(running, result)
    change = f"UPDATE workertoolbox_task SET {column} = 'other' WHERE id = :id"
    _change(running, change, result.id)
    _change(
        running,
        "UPDATE celery_taskmeta SET root_id = NULL, parent_id = NULL "
        "WHERE task_id = :id",
        result.id,
    )
    with pytest.raises(AssertionError) as caught:
        assert_tracked(running, result, timeout_s=0.2)

    assert f"task {result.id}: its {what} is 'other' in the database" in str(
        caught.value
    )


def test_the_result_of_an_eager_task_is_an_error(app: Celery) -> None:
    result = app.tasks["export.add"].apply((1,))
    with pytest.raises(AssertionError, match="was not published: apply.. or task_alw"):
        assert_tracked(app, result)


def test_a_value_that_is_not_a_result_is_an_error(app: Celery) -> None:
    result: Any = 7
    with pytest.raises(AssertionError, match="7 is not the result of a published task"):
        assert_tracked(app, result)
