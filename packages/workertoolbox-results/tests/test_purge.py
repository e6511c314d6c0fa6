"""Deleting old tasks, and all of one workflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery, states
from celery.app.task import Context
from sqlalchemy import MetaData, func, select
from test_commands import run, track

from cadasta.workertoolbox.results import TaskStore, _purge
from cadasta.workertoolbox.results._tables import metadata
from cadasta.workertoolbox.results.backend import Backend

NOW = datetime.now(UTC)


def ago(days: int) -> dict[str, str]:
    return {"workertoolbox_published_at": (NOW - timedelta(days=days)).isoformat()}


def ids(store: TaskStore) -> set[str]:
    return {task.id for task in store.list(limit=10_000)}


def rows(backend: Backend) -> dict[str, int]:
    known = MetaData()
    known.reflect(backend.database.engine)
    with backend.database.engine.connect() as connection:
        counts = {
            name: connection.scalar(
                select(func.count()).select_from(known.tables[name])
            )
            for name in metadata.tables
        }
    del counts["workertoolbox_watermark"]  # of no task
    return {name: count for name, count in counts.items() if count}


def test_old_tasks_go_with_all_that_is_known_of_them(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, {"id": "old", **ago(40)}, {"id": "young", **ago(20)})
    backend.store_result("old", 42, states.SUCCESS)
    result = run(app, "purge", "--older-than", "30d")

    assert result.output == "1 tasks deleted\n"
    assert ids(store) == {"young"}
    assert rows(backend) == {"workertoolbox_task": 1, "workertoolbox_attempt": 1}


def test_status_and_name_narrow_it_down(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, *({"id": id, **ago(40)} for id in ("good", "bad", "queued")))
    track(backend, {"id": "other", "task": "msg.send", **ago(40)})
    backend.store_result("good", 42, states.SUCCESS)
    backend.store_result("other", 42, states.SUCCESS)
    backend.mark_as_failure("bad", ValueError("x"))
    words = ("purge", "--older-than", "1w", "--status", "SUCCESS")
    run(app, *words, "--name", "export.project")

    assert ids(store) == {"bad", "queued", "other"}


def test_a_dry_run_counts_and_deletes_nothing(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, *({"id": str(n), **ago(40)} for n in range(3)))
    result = run(app, "purge", "--older-than", "30d", "--dry-run")

    assert result.output == "3 tasks would be deleted\n"
    assert len(ids(store)) == 3


def test_a_task_whose_eta_is_ahead_stays(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, {"id": "1", "eta": "2999-01-01T00:00:00+00:00", **ago(40)})
    run(app, "purge", "--older-than", "30d")

    assert ids(store) == {"1"}


def test_results_that_no_monitor_saw_go_too(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    kept = _purge.purge(store.engine, before=NOW - timedelta(days=1))
    gone = _purge.purge(store.engine, before=NOW + timedelta(days=1))

    assert (kept, gone) == (0, 1)
    assert rows(backend) == {}


def test_many_tasks_go_in_several_transactions(
    backend: Backend, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_purge, "TASKS", 7)
    track(backend, *({"id": str(n), **ago(40)} for n in range(30)))

    assert _purge.purge(store.engine, before=NOW) == 30
    assert rows(backend) == {}


def test_one_workflow_is_erased_everywhere(
    app: Celery, backend: Backend, store: TaskStore
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
    result = run(app, "purge", "--root-id", "1")

    assert result.output == "2 tasks deleted\n"
    assert ids(store) == {"3"}
    assert rows(backend) == {"workertoolbox_task": 1, "workertoolbox_attempt": 1}


def test_one_task_is_erased(app: Celery, backend: Backend, store: TaskStore) -> None:
    track(backend, {"id": "1", "root_id": "1"}, {"id": "2", "root_id": "1"})
    result = run(app, "purge", "--task-id", "2")

    assert result.output == "1 tasks deleted\n"
    assert ids(store) == {"1"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--older-than", "30d", "--root-id", "1"],
        ["--older-than", "30"],
        ["--older-than", "-3d"],
        ["--root-id", "1", "--dry-run"],
    ],
)
def test_wrong_use_deletes_nothing(
    app: Celery, backend: Backend, store: TaskStore, words: list[str]
) -> None:
    track(backend, {"id": "1", "root_id": "1", **ago(400)})
    result = run(app, "purge", *words)

    assert result.exit_code == 2
    assert ids(store) == {"1"}
