"""What the history keeps of a task that has ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from archiving import archive
from sqlalchemy import insert, select, update
from stored_tasks import MINUTE, publish, store_state

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.archived_values import (
    BEGINNING_BYTES,
    MAX_TRACEBACK,
)
from cadasta.workertoolbox.results.backend import Backend

Row = dict[str, Any]


def archived(backend: Backend, **options: Any) -> Row:
    """Archive the only ended task, and return its row."""
    assert archive(backend, **options) == 1
    with backend.database.engine.connect() as connection:
        return dict(connection.execute(select(history)).mappings().one())


def change(store: TaskStore, **values: Any) -> None:
    """Change the message of the task."""
    with store.engine.begin() as connection:
        connection.execute(update(task).values(values))


def test_a_message_and_a_result_become_one_row(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    publish(store, "export", "1", at=now - MINUTE, root_id="r", parent_id="p")
    store_state(store, "1", "SUCCESS", at=now, result=b"42", worker="a@host")
    row = archived(backend)
    expected = {
        **{"id": "1", "name": "export.project", "queue": "export", "root_id": "r"},
        **{"parent_id": "p", "status": "SUCCESS", "result": b"42", "worker": "a@host"},
        **{"scheduled_at": now - MINUTE, "finished_at": now, "tracked": True},
        **{"listed_at": now - MINUTE, "messages": None, "options": None},
        **{"result_bytes": None, "traceback": None, "large": None},
    }

    assert {name: row[name] for name in expected} == expected


def test_a_task_without_a_message_is_listed_at_its_end(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    store_state(store, "1", "SUCCESS", at=now - MINUTE)
    row = archived(backend)

    assert row["finished_at"] == row["listed_at"] == now - MINUTE


def test_a_task_whose_end_has_no_time_ended_when_it_is_archived(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    store_state(store, "1", "SUCCESS")
    with store.engine.begin() as connection:
        connection.execute(update(taskmeta).values(date_done=None))
    row = archived(backend)

    assert row["finished_at"] == row["listed_at"] >= now


@pytest.mark.parametrize(
    ("size", "limit", "kept", "result_bytes"),
    [
        (5000, 5000, 5000, None),
        (5001, 5000, BEGINNING_BYTES, 5001),
        (BEGINNING_BYTES - 1, 100, BEGINNING_BYTES - 1, BEGINNING_BYTES - 1),
    ],
)
def test_the_beginning_of_a_large_result_is_kept(
    store: TaskStore,
    backend: Backend,
    size: int,
    limit: int,
    kept: int,
    result_bytes: int | None,
) -> None:
    result = bytes(65 + number % 26 for number in range(size))
    store_state(store, "1", "SUCCESS", result=result)
    row = archived(backend, max_result_bytes=limit)

    assert row["result"] == result[:kept]
    assert row["result_bytes"] == result_bytes


def test_the_size_of_a_result_that_was_cut_before_is_kept(
    store: TaskStore, backend: Backend
) -> None:
    store_state(store, "1", "SUCCESS", result=b"x" * 200, result_bytes=10**6)

    assert archived(backend, max_result_bytes=100)["result_bytes"] == 10**6


@pytest.mark.parametrize("more", [0, 1])
def test_the_end_of_a_long_traceback_is_kept(
    store: TaskStore, backend: Backend, more: int
) -> None:
    traceback = "a" * (MAX_TRACEBACK - 1 + more) + "b"
    store_state(store, "1", "FAILURE", traceback=traceback)

    assert archived(backend)["traceback"] == traceback[more:]


@pytest.mark.parametrize(
    ("status", "kept"),
    [("SUCCESS", {"priority": 3}), ("FAILURE", {"priority": 3, "next": {"chain": []}})],
)
def test_the_next_steps_are_kept_of_a_task_that_has_not_published_them(
    store: TaskStore, backend: Backend, status: str, kept: Row
) -> None:
    publish(store, "export", "1")
    change(store, options={"priority": 3, "next": {"chain": []}})
    store_state(store, "1", status)

    assert archived(backend)["options"] == kept


def test_the_messages_of_retries_are_kept(
    store: TaskStore, backend: Backend, now: datetime
) -> None:
    for retries in range(2):
        at = now - (2 - retries) * MINUTE
        publish(store, "export", "1", at=at, retries=retries)
    publish(store, "export", "2")
    store_state(store, "1", "SUCCESS", retries=1)
    messages = archived(backend)["messages"]

    assert [each["retries"] for each in messages] == [0, 1]
    assert messages[0].keys() == {*attempt.c.keys()} - {"task_id"}
    assert {each["queue"] for each in messages} == {"export"}


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({}, False),
        ({"retries": 1}, True),
        ({"name": "another"}, True),
        ({"queue": "another"}, True),
    ],
)
def test_an_only_message_is_kept_if_the_run_was_of_another_one(
    store: TaskStore,
    backend: Backend,
    now: datetime,
    changes: Row,
    is_kept: bool,
) -> None:
    publish(store, "export", "1", at=now - MINUTE)
    values = {"task_id": "1", "replaced": 0, "retries": 0, "name": "export.project"}
    values |= {"queue": "export", "scheduled_at": now, "seen_at": now, **changes}
    with store.engine.begin() as connection:
        connection.execute(attempt.delete())
        connection.execute(insert(attempt).values(values))
    store_state(store, "1", "SUCCESS", retries=0)
    messages = archived(backend)["messages"]

    assert bool(messages) == is_kept
