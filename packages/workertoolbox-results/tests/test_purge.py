"""Purging of expired rows, and the command `tasks purge`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery, states
from sqlalchemy import delete, update
from stored_rows import row_counts, store_group_chord_and_quarantine
from test_commands import run, track

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._commands import purge as purge_command
from cadasta.workertoolbox.results._database.tables import (
    history,
    quarantine,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history import purge
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results.backend import Backend

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)


def ago(days: int) -> dict[str, str]:
    return {"workertoolbox_published_at": (NOW - timedelta(days=days)).isoformat()}


def ids(store: TaskStore) -> set[str]:
    return {task.id for task in store.list(limit=10_000)}


def purged(store: TaskStore, *, before: datetime, **filters: str) -> Counter[str]:
    expired = purge.find_older(store.engine, before, **filters)
    steps = purge.purge(store.engine, expired)
    return sum(steps, Counter())


def end_earlier(backend: Backend, days: int) -> None:
    """Set the time of all results to so many days ago."""
    ended_at = naive_utc(NOW - timedelta(days=days))
    with backend.database.engine.begin() as connection:
        connection.execute(update(taskmeta).values(date_done=ended_at))


def archive(backend: Backend) -> None:
    """Archive all tasks that have ended."""
    with backend.database.engine.begin() as connection:
        archive_batch(connection, ArchiveOptions(delay_s=0))


@pytest.mark.parametrize("is_archived", [False, True])
def test_old_tasks_are_deleted_with_all_data_about_them(
    app: Celery, backend: Backend, store: TaskStore, is_archived: bool
) -> None:
    track(backend, {"id": "old", **ago(40)}, {"id": "young", **ago(20)})
    backend.store_result("old", 42, states.SUCCESS)
    end_earlier(backend, 35)
    if is_archived:
        archive(backend)
    result = run(app, "purge", "--older-than", "30d")

    assert result.output == "1 task deleted\n"
    assert ids(store) == {"young"}
    assert row_counts(backend) == {"workertoolbox_task": 1, "workertoolbox_attempt": 1}


def test_only_tasks_with_the_given_status_and_name_are_deleted(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, *({"id": id, **ago(40)} for id in ("good", "bad", "queued")))
    track(backend, {"id": "other", "task": "msg.send", **ago(40)})
    backend.store_result("good", 42, states.SUCCESS)
    backend.store_result("other", 42, states.SUCCESS)
    backend.mark_as_failure("bad", ValueError("x"))
    end_earlier(backend, 35)
    words = ("purge", "--older-than", "1w", "--status", "SUCCESS")
    run(app, *words, "--name", "export.project")

    assert ids(store) == {"bad", "queued", "other"}


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_task_with_a_younger_end_is_kept(
    app: Celery, backend: Backend, store: TaskStore, is_archived: bool
) -> None:
    track(backend, {"id": "1", **ago(40)})
    backend.store_result("1", 42, states.SUCCESS)
    end_earlier(backend, 20)
    if is_archived:
        archive(backend)
    first = run(app, "purge", "--older-than", "30d")
    second = run(app, "purge", "--older-than", "19d")

    assert (first.output, second.output) == ("0 tasks deleted\n", "1 task deleted\n")
    assert row_counts(backend) == {}


def test_tasks_whose_result_was_forgotten_are_deleted_by_their_status(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, {"id": "good"}, {"id": "bad"})
    backend.store_result("good", 42, states.SUCCESS)
    backend.store_result("bad", ValueError("x"), states.FAILURE)
    backend.store_result("unseen", ValueError("x"), states.FAILURE)
    for id in ("good", "bad", "unseen"):
        app.AsyncResult(id).forget()

    assert purged(store, before=LATER, status=states.FAILURE) == {"tasks": 2}
    assert ids(store) == {"good"}


def test_a_task_that_is_queued_again_is_deleted_with_its_earlier_end(
    backend: Backend, store: TaskStore
) -> None:
    track(backend, {"id": "1", **ago(40)})
    backend.store_result("1", 42, states.SUCCESS)
    archive(backend)
    with backend.database.engine.begin() as connection:
        connection.execute(delete(taskmeta))
        ended_at = datetime.now(UTC) - timedelta(days=38)
        connection.execute(update(history).values(finished_at=ended_at))
    track(backend, {"id": "1", **ago(35)})
    by_end = purged(store, before=LATER, status=states.SUCCESS)
    by_status = purged(store, before=LATER, status="QUEUED")

    assert (by_end, by_status) == ({}, {"tasks": 1})
    assert row_counts(backend) == {}


def test_a_dry_run_counts_and_deletes_nothing(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, *({"id": str(n), **ago(40)} for n in range(3)))
    result = run(app, "purge", "--older-than", "30d", "--dry-run")

    assert result.output == "3 tasks would be deleted\n"
    assert len(ids(store)) == 3


def test_a_task_whose_eta_is_ahead_is_kept(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    track(backend, {"id": "1", "eta": "2999-01-01T00:00:00+00:00", **ago(40)})
    run(app, "purge", "--older-than", "30d")

    assert ids(store) == {"1"}


def test_results_of_untracked_tasks_are_deleted(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    backend.store_result("1", 42, states.SUCCESS)
    kept = purged(store, before=NOW - timedelta(days=1))
    deleted = purged(store, before=NOW + timedelta(days=1))

    assert (kept, deleted) == ({}, {"tasks": 1})
    assert row_counts(backend) == {}


def test_many_tasks_are_deleted_in_several_transactions(
    backend: Backend, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH_SIZE", 7)
    track(backend, *({"id": str(n), **ago(40)} for n in range(30)))
    expired = purge.find_older(store.engine, NOW)
    transactions = list(purge.purge(store.engine, expired))

    assert [each["tasks"] for each in transactions] == [7, 7, 7, 7, 2]
    assert row_counts(backend) == {}


def test_an_old_task_is_kept_until_its_eta_is_old_too(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    eta = (NOW - timedelta(days=20)).isoformat()
    track(backend, {"id": "1", "eta": eta, **ago(40)})
    first = run(app, "purge", "--older-than", "30d")
    second = run(app, "purge", "--older-than", "19d")

    assert (first.output, second.output) == ("0 tasks deleted\n", "1 task deleted\n")


def test_old_groups_chords_and_quarantined_messages_are_deleted(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    store_group_chord_and_quarantine(app, backend)
    all_rows = row_counts(backend)
    kept = purged(store, before=NOW - timedelta(days=1))
    filtered = purged(store, before=LATER, status="SUCCESS")
    filtered += purged(store, before=LATER, name="export.project")
    untouched = row_counts(backend)
    counted = purge.count(store.engine, purge.find_older(store.engine, LATER))
    deleted = purged(store, before=LATER)

    assert (kept, filtered) == ({}, {})
    assert untouched == all_rows
    assert counted == deleted == {"groups": 1, "chords": 1, "messages in quarantine": 2}
    assert row_counts(backend) == {}


def test_the_command_also_counts_quarantined_messages(
    app: Celery, backend: Backend
) -> None:
    track(backend, {"id": "1", **ago(40)})
    store_group_chord_and_quarantine(app, backend)
    with backend.database.engine.begin() as connection:
        connection.execute(update(quarantine).values(seen_at=NOW - timedelta(days=40)))
    counted = run(app, "purge", "--older-than", "30d", "--dry-run")
    result = run(app, "purge", "--older-than", "30d")

    shown = "1 task, 2 messages in quarantine"
    assert counted.output == f"{shown} would be deleted\n"
    assert result.output == f"{shown} deleted\n"


def test_a_long_purge_reports_its_progress(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH_SIZE", 2)
    monkeypatch.setattr(purge_command, "REPORT_S", 0.0)
    track(backend, *({"id": str(n), **ago(40)} for n in range(3)))
    result = run(app, "purge", "--older-than", "30d")

    assert result.stdout == "3 tasks deleted\n"
    assert result.stderr == "2 tasks deleted so far\n3 tasks deleted so far\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ([], "give one of --older-than, --task-id and --root-id, or set RETENTION"),
        (["--older-than", "30d", "--root-id", "1"], "give one of --older-than"),
        (["--task-id", "1", "--root-id", "1"], "give one of --older-than"),
        (["--older-than", "30"], "'30' is not an age; write a number and a unit"),
        (["--older-than", "-3d"], "'-3d' is not an age; write a number and a unit"),
        (["--older-than", "0"], "'0' is not an age; write a number and a unit"),
        (["--older-than", "0d"], "'0d' is out of range; write 1s to 36500d"),
        (["--older-than", "99999999w"], "'99999999w' is out of range; write 1s to"),
        (["--older-than", "1d", "--status", "success"], "write SUCCESS"),
        (["--older-than", "1d", "--status", "SCHEDULED"], "their ETA is ahead"),
        (["--status", "SUCCESS"], "can only be used with --older-than"),
        (["--root-id", "1", "--dry-run"], "--dry-run cannot be used with"),
        (
            ["--task-id", "1", "--status", "SUCCESS"],
            "can only be used with --older-than",
        ),
        (["--root-id", ""], "'' is not an id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_delete_nothing_and_are_explained_in_one_line(
    app: Celery, backend: Backend, store: TaskStore, words: list[str], advice: str
) -> None:
    track(backend, {"id": "1", "root_id": "1", **ago(400)})
    result = run(app, "purge", *words)
    [error] = [line for line in result.stderr.splitlines() if line[:7] == "Error: "]

    assert result.exit_code == 2
    assert advice in error
    assert result.stderr.splitlines()[-1] == error
    assert ids(store) == {"1"}


def test_a_custom_status_is_accepted(app: Celery, backend: Backend) -> None:
    track(backend, {"id": "1", **ago(40)}, {"id": "2", **ago(40)})
    backend.store_result("1", {}, "Uploading")
    result = run(app, "purge", "--older-than", "30d", "--status", "Uploading")

    assert result.output == "1 task deleted\n"
