"""Erasure of one task or one workflow."""

from __future__ import annotations

import pytest
from celery import Celery, states
from celery.app.task import Context
from stored_rows import row_counts, store_group_chord_and_quarantine
from test_commands import run, track
from test_purge import archive

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results.backend import Backend


def ids(store: TaskStore) -> set[str]:
    return {task.id for task in store.list()}


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_workflow_is_erased_from_all_tables(
    app: Celery, backend: Backend, store: TaskStore, is_archived: bool
) -> None:
    track(
        backend,
        {"id": "1", "root_id": "1"},
        {"id": "2", "root_id": "1", "group": "g"},
        {"id": "3", "root_id": "3"},
    )
    app.GroupResult("g", [app.AsyncResult("2")]).save()
    request = Context(id="2", group="g", group_index=0, chord={"task": "body"})
    backend.on_chord_part_return(request, states.SUCCESS, 42)
    backend.store_result("1", 42, states.SUCCESS)
    if is_archived:
        archive(backend)
    result = run(app, "purge", "--root-id", "1")

    assert result.output == "2 tasks deleted\n"
    assert ids(store) == {"3"}
    assert row_counts(backend) == {
        "workertoolbox_task": 1,
        "workertoolbox_attempt": 1,
    }


def test_one_task_is_erased(app: Celery, backend: Backend, store: TaskStore) -> None:
    track(backend, {"id": "1", "root_id": "1"}, {"id": "2", "root_id": "1"})
    result = run(app, "purge", "--task-id", "2")

    assert result.output == "1 task deleted\n"
    assert ids(store) == {"1"}


def test_an_archived_task_is_erased(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, {"id": "1", "root_id": "1"}, {"id": "2", "root_id": "1"})
    for id in ("1", "2"):
        backend.store_result(id, 42, states.SUCCESS)
    archive(backend)
    result = run(app, "purge", "--task-id", "2")

    assert result.output == "1 task deleted\n"
    assert ids(store) == {"1"}
    assert row_counts(backend) == {"workertoolbox_history": 1, "celery_taskmeta": 1}


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["--task-id", "2"], "0 tasks, 1 messages in quarantine deleted\n"),
        (["--root-id", "1"], "0 tasks, 2 messages in quarantine deleted\n"),
    ],
)
def test_quarantined_messages_are_erased_with_their_task(
    app: Celery, backend: Backend, words: list[str], output: str
) -> None:
    store_group_chord_and_quarantine(app, backend)

    assert run(app, "purge", *words).output == output
