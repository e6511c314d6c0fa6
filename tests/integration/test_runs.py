"""Several runs under one id, their waits, and tasks whose result was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import states
from celery.app.task import Context
from kombu.message import Message
from sqlalchemy import Engine, delete

from cadasta.workertoolbox.results import Task, TaskStore
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.tidying import tidy
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from support.result_backends import app_with_backend

NOW = datetime.now(UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.fixture
def app(result_backend: str, engine: Engine) -> Iterator[Any]:
    app: Any = app_with_backend(result_backend)
    yield app
    app.backend.database.close()
    app.close()


def headers(published_s: float, **changes: Any) -> dict[str, Any]:
    """Return the headers of a message that was published some seconds ago."""
    defaults = {
        "id": "1",
        "task": "export.first",
        "root_id": "1",
        "parent_id": None,
        "group": None,
        "retries": 0,
        "workertoolbox_published_at": ago(published_s).isoformat(),
    }
    return {**defaults, **changes}


def see(engine: Engine, *messages: dict[str, Any], args: Any = "[1]") -> None:
    """Store messages as a monitor does."""
    records = [
        read_task(
            Message(
                body=f"[{args}, {{}}, {{}}]",
                content_type="application/json",
                content_encoding="utf-8",
                delivery_info={"routing_key": "export"},
                headers=each,
            ),
            seen_at=datetime.now(UTC),
        )
        for each in messages
    ]
    with engine.begin() as connection:
        write_batch(connection, records)


def store_state(
    app: Any,
    state: str,
    message: dict[str, Any],
    *,
    args: Any = (1,),
    started_s: float | None = None,
) -> Any:
    """Store a state as the worker that runs a message does."""
    request: Any = Context(
        message, args=[*args], kwargs={}, hostname="worker@host", delivery_info={}
    )
    request.task = message["task"]
    if started_s is not None:
        request.workertoolbox_started_at = ago(started_s)
    failed = state in states.EXCEPTION_STATES
    result: Any = ValueError(message["task"]) if failed else message["task"]
    app.backend.store_result(message["id"], result, state, request=request)
    return request


def shown(task: Task) -> tuple[Any, ...]:
    return task.name, task.args, task.status


@pytest.mark.parametrize("end", [states.SUCCESS, states.FAILURE])
@pytest.mark.parametrize("seen", ["before", "after"])
def test_two_runs_under_one_id_are_not_mixed(
    app: Any, engine: Engine, database_store: TaskStore, end: str, seen: str
) -> None:
    first = headers(60, group="group", parent_id="parent", root_id="root")
    second = headers(30, task="export.second")
    see(engine, first)
    store_state(app, end, first, started_s=50)
    if seen == "before":
        see(engine, second, args="[2]")
    one = database_store.get("1")
    store_state(app, states.SUCCESS, second, args=(2,))
    if seen == "after":
        see(engine, second, args="[2]")
    two = database_store.get("1")

    assert shown(one) == ("export.first", [1], end)
    if end == states.SUCCESS:  # Celery keeps the first success.
        assert two == one
    else:
        assert shown(two) == ("export.second", [2], states.SUCCESS)
        assert (two.root_id, two.parent_id, two.group_id) == ("1", None, None)
        assert (two.started_at, two.traceback) == (None, None)


def test_a_task_that_runs_again_after_forget_is_shown_as_the_new_run(
    app: Any, engine: Engine, database_store: TaskStore
) -> None:
    first = headers(60)
    see(engine, first)
    store_state(app, states.SUCCESS, first)
    # Only a message that was published after the end queues the task again.
    again_at = datetime.now(UTC).isoformat()
    second = headers(0, task="export.second", workertoolbox_published_at=again_at)
    app.AsyncResult("1").forget()
    forgotten = database_store.get("1")
    see(engine, first)
    redelivered = database_store.get("1")
    with engine.begin() as connection:
        archive_batch(connection, ArchiveOptions(delay_s=0))
        # The archiver deletes a forgotten result after an hour.
        tidy(connection, datetime.now(UTC) + timedelta(hours=2), ArchiveOptions())
    see(engine, second, args="[2]")
    queued = database_store.get("1")
    listed = [task.id for task in database_store.list(status="QUEUED")]
    store_state(app, states.FAILURE, second, args=(2,))
    failed = database_store.get("1")

    assert shown(forgotten) == shown(redelivered) == ("export.first", [1], "SUCCESS")
    assert (forgotten.worker, forgotten.result) == ("worker@host", "export.first")
    assert forgotten.finished_at is not None
    assert shown(queued) == ("export.second", [2], "QUEUED") and listed == ["1"]
    assert shown(failed) == ("export.second", [2], "FAILURE")


@pytest.mark.parametrize("how", ["forget", "expiry", "SQL"])
@pytest.mark.parametrize("order", ["message first", "result first"])
def test_an_ended_task_is_never_queued_again(
    app: Any, engine: Engine, database_store: TaskStore, how: str, order: str
) -> None:
    message = headers(3600)
    if order == "message first":
        see(engine, message)
    store_state(app, states.SUCCESS, message)
    if how == "forget":
        app.AsyncResult("1").forget()
    elif how == "expiry":
        app.backend.expires = timedelta(microseconds=1)
        app.backend.cleanup()
    else:
        with engine.begin() as connection:
            connection.execute(delete(taskmeta))
    unseen = database_store.find("1")
    if order == "result first":
        see(engine, message)
    with engine.begin() as connection:
        archive_batch(connection, ArchiveOptions(delay_s=0))

    assert unseen is not None and unseen.status == "SUCCESS"
    assert shown(database_store.get("1")) == ("export.first", [1], "SUCCESS")
    assert database_store.stuck(timedelta(0)) == []
    assert database_store.list(status="QUEUED") == []
    assert [task.id for task in database_store.list(status="SUCCESS")] == ["1"]


@pytest.mark.parametrize(
    "change",
    [
        {"task": "export.forged"},
        {"root_id": "forged"},
        {"parent_id": "forged"},
        {"group": "forged"},
        {"retries": 9},
        {"replaced_task_nesting": 9},
        {"origin": "9@forged", "expires": ago(-600).isoformat(), "tenant": "forged"},
        {},
    ],
)
@pytest.mark.parametrize("published_s", [3600.0, 60.0, -3600.0])
def test_a_forged_copy_changes_nothing_of_a_task_that_has_run(
    app: Any,
    engine: Engine,
    database_store: TaskStore,
    change: dict[str, Any],
    published_s: float,
) -> None:
    message = headers(60)
    see(engine, message)
    store_state(app, states.SUCCESS, message)
    before = database_store.get("1")
    see(engine, headers(published_s, **change), args='["forged"]')
    after = database_store.get("1")

    # A later copy replaces what is stored of the arguments in the message of the run.
    assert after.arguments in (before.arguments, None)
    assert replace(after, arguments=before.arguments) == before
    assert [task.id for task in database_store.list(name="export.first")] == ["1"]
    assert not database_store.search("header.tenant:forged").tasks
    assert [task.id for task in database_store.workflow("1")] == ["1"]


def test_the_wait_is_that_of_the_latest_attempt(
    app: Any, engine: Engine, database_store: TaskStore
) -> None:
    first = headers(100)
    retry = headers(50, retries=1, eta=ago(40).isoformat())
    see(engine, first)
    store_state(app, states.RETRY, first, started_s=97)
    see(engine, retry)
    waiting = database_store.get("1")
    store_state(app, states.SUCCESS, retry, started_s=35)
    retried = database_store.get("1")

    assert waiting.wait_s == pytest.approx(3)
    assert retried.wait_s == pytest.approx(5)
    assert (waiting.retries, retried.retries) == (1, 1)


def test_the_wait_of_a_requeued_task_ends_with_its_first_start(
    app: Any, engine: Engine, database_store: TaskStore
) -> None:
    message = headers(100)
    see(engine, message)
    for start in (98, 20):
        store_state(app, states.RETRY, message, started_s=start)
    store_state(app, states.SUCCESS, message, started_s=10)

    assert database_store.get("1").wait_s == pytest.approx(2)


def test_the_wait_of_a_replaced_task_is_that_of_its_replacement(
    app: Any, engine: Engine, database_store: TaskStore
) -> None:
    first = headers(100)
    replacement = headers(50, task="export.second", replaced_task_nesting=1)
    see(engine, first, replacement)
    store_state(app, states.SUCCESS, replacement, started_s=49)

    assert database_store.get("1").wait_s == pytest.approx(1)
    assert database_store.get("1").name == "export.second"


def test_a_retried_task_without_a_parent_is_not_its_own_parent(
    app: Any, engine: Engine, database_store: TaskStore
) -> None:
    retry = headers(1, retries=1, parent_id="1")
    see(engine, headers(2), retry)
    store_state(app, states.SUCCESS, retry)

    assert database_store.get("1").parent_id is None
    assert database_store.children("1") == []
