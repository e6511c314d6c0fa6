"""Deleting old tasks, and all of one workflow."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery, states
from celery.app.task import Context
from messages import message
from sqlalchemy import MetaData, func, select, update
from test_commands import run, track

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._commands import purge as purge_command
from cadasta.workertoolbox.results._database.tables import metadata, quarantine
from cadasta.workertoolbox.results._history import purge as _purge
from cadasta.workertoolbox.results._monitor.message import quarantine_record
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)


def ago(days: int) -> dict[str, str]:
    return {"workertoolbox_published_at": (NOW - timedelta(days=days)).isoformat()}


def ids(store: TaskStore) -> set[str]:
    return {task.id for task in store.list(limit=10_000)}


def deleted(store: TaskStore, *, before: datetime) -> Counter[str]:
    return sum(_purge.purge_expired(store.engine, before=before), Counter())


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
    kept = deleted(store, before=NOW - timedelta(days=1))
    gone = deleted(store, before=NOW + timedelta(days=1))

    assert (kept, gone) == ({}, {"tasks": 1})
    assert rows(backend) == {}


def test_many_tasks_go_in_several_transactions(
    backend: Backend, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_purge, "BATCH_SIZE", 7)
    track(backend, *({"id": str(n), **ago(40)} for n in range(30)))
    transactions = list(_purge.purge_expired(store.engine, before=NOW))

    assert [each["tasks"] for each in transactions] == [7, 7, 7, 7, 2]
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


def test_an_old_task_is_as_young_as_its_eta(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    eta = (NOW - timedelta(days=20)).isoformat()
    track(backend, {"id": "1", "eta": eta, **ago(40)})
    first = run(app, "purge", "--older-than", "30d")
    second = run(app, "purge", "--older-than", "19d")

    assert (first.output, second.output) == ("0 tasks deleted\n", "1 tasks deleted\n")


def keep_others(app: Celery, backend: Backend) -> None:
    """Store a group, a chord with a part, and two messages that cannot be read."""
    app.GroupResult("g", [app.AsyncResult("2")]).save()
    request = Context(id="2", group="c", group_index=0, chord={"task": "body"})
    backend.on_chord_part_return(request, states.SUCCESS, 42)
    unread = [
        quarantine_record(message(id=id, root_id="1"), reason="x", seen_at=NOW)
        for id in ("1", "2")
    ]
    with backend.database.engine.begin() as connection:
        write_batch(connection, unread)


def test_old_groups_chords_and_unread_messages_go_too(
    app: Celery, backend: Backend, store: TaskStore
) -> None:
    keep_others(app, backend)
    all_rows = rows(backend)
    kept = deleted(store, before=NOW - timedelta(days=1))
    narrowed = list(_purge.purge_expired(store.engine, before=LATER, status="SUCCESS"))
    narrowed += _purge.purge_expired(store.engine, before=LATER, name="export.project")
    untouched = rows(backend)
    counted = _purge.count_expired(store.engine, before=LATER)
    gone = deleted(store, before=LATER)

    assert (kept, sum(narrowed, Counter())) == ({}, {})
    assert untouched == all_rows
    assert counted == gone == {"groups": 1, "chords": 1, "messages in quarantine": 2}
    assert rows(backend) == {}


def test_what_else_is_deleted_is_told(app: Celery, backend: Backend) -> None:
    track(backend, {"id": "1", **ago(40)})
    keep_others(app, backend)
    with backend.database.engine.begin() as connection:
        connection.execute(update(quarantine).values(seen_at=NOW - timedelta(days=40)))
    counted = run(app, "purge", "--older-than", "30d", "--dry-run")
    result = run(app, "purge", "--older-than", "30d")

    shown = "1 tasks, 2 messages in quarantine"
    assert counted.output == f"{shown} would be deleted\n"
    assert result.output == f"{shown} deleted\n"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--task-id", "2"], "0 tasks, 1 messages in quarantine deleted\n"),
        (["--root-id", "1"], "0 tasks, 2 messages in quarantine deleted\n"),
    ],
)
def test_messages_that_could_not_be_read_are_erased_with_their_task(
    app: Celery, backend: Backend, words: list[str], shown: str
) -> None:
    keep_others(app, backend)

    assert run(app, "purge", *words).output == shown


def test_a_long_purge_tells_how_far_it_is(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_purge, "BATCH_SIZE", 2)
    monkeypatch.setattr(purge_command, "REPORT_S", 0.0)
    track(backend, *({"id": str(n), **ago(40)} for n in range(3)))
    result = run(app, "purge", "--older-than", "30d")

    assert result.stdout == "3 tasks deleted\n"
    assert result.stderr == "2 tasks deleted so far\n3 tasks deleted so far\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ([], "give one of --older-than, --task-id and --root-id"),
        (["--older-than", "30d", "--root-id", "1"], "give one of --older-than"),
        (["--task-id", "1", "--root-id", "1"], "give one of --older-than"),
        (["--older-than", "30"], "'30' is not an age; write a number and a unit"),
        (["--older-than", "-3d"], "'-3d' is not an age; write a number and a unit"),
        (["--older-than", "0"], "'0' is not an age; write a number and a unit"),
        (["--older-than", "0d"], "'0d' is out of range; write 1s to 36500d"),
        (["--older-than", "99999999w"], "'99999999w' is out of range; write 1s to"),
        (["--older-than", "1d", "--status", "success"], "write SUCCESS"),
        (["--older-than", "1d", "--status", "SCHEDULED"], "their ETA is ahead"),
        (["--root-id", "1", "--dry-run"], "go with --older-than"),
        (["--task-id", "1", "--status", "SUCCESS"], "go with --older-than"),
        (["--root-id", ""], "'' is not an id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_deletes_nothing_and_is_one_line_that_says_what_to_do(
    app: Celery, backend: Backend, store: TaskStore, words: list[str], advice: str
) -> None:
    track(backend, {"id": "1", "root_id": "1", **ago(400)})
    result = run(app, "purge", *words)
    [error] = [line for line in result.stderr.splitlines() if line[:7] == "Error: "]

    assert result.exit_code == 2
    assert advice in error
    assert result.stderr.splitlines()[-1] == error
    assert ids(store) == {"1"}


def test_a_status_of_a_tasks_own_is_taken(app: Celery, backend: Backend) -> None:
    track(backend, {"id": "1", **ago(40)}, {"id": "2", **ago(40)})
    backend.store_result("1", {}, "Uploading")
    result = run(app, "purge", "--older-than", "30d", "--status", "Uploading")

    assert result.output == "1 tasks deleted\n"
