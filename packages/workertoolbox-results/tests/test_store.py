"""The queries of `TaskStore`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import states
from messages import PUBLISHED_AT, message
from sqlalchemy import event, insert, make_url, update

from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    NewestTask,
    SchemaOutdated,
    TaskStore,
    UnknownStatus,
    UnknownValue,
    open_engine,
)
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    quarantine,
    taskmeta,
)
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.clocks import MAX_AGE, MAX_LEAD, MAX_SKEW
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

SEEN_AT = datetime.fromisoformat(PUBLISHED_AT) + timedelta(seconds=2)


def track(store: TaskStore, *, seen_at: datetime = SEEN_AT, **headers: Any) -> None:
    with store.engine.begin() as connection:
        write_batch(connection, [read_task(message(**headers), seen_at=seen_at)])


def put_into_quarantine(store: TaskStore, *reasons: str) -> None:
    rows = [
        {
            "digest": reason,
            "reason": reason,
            "body": b"",
            "headers": {},
            "seen_at": SEEN_AT,
        }
        for reason in reasons
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(quarantine), rows)


def test_each_message_of_a_task_is_one_published_attempt(store: TaskStore) -> None:
    for retries in (1, 0):
        track(store, id="a", retries=retries)
    track(store, id="b")

    assert store.published_attempts("a") == [0, 1]
    assert store.published_attempts("b") == [0]
    assert store.published_attempts("unknown") == []


@pytest.mark.parametrize(
    ("lead", "count"),
    [(MAX_LEAD, 1), (MAX_SKEW, 1), (-MAX_AGE, 1), (MAX_LEAD - timedelta(seconds=1), 2)],
)
def test_a_run_belongs_to_its_message_if_only_a_limited_time_is_stored(
    store: TaskStore, lead: timedelta, count: int
) -> None:
    track(store)
    run = {"retries": 0, "published_at": SEEN_AT + 2 * lead, "worker": "a@host"}
    with store.engine.begin() as connection:
        connection.execute(update(attempt).values(scheduled_at=SEEN_AT + lead))
        row = {"task_id": "1", "status": states.SUCCESS, **run}
        connection.execute(insert(taskmeta).values(row))
    found = store.attempts("1")

    assert [each.worker for each in found].count("a@host") == 1
    assert len(found) == count


def test_the_newest_task_has_the_lag_of_its_message(store: TaskStore) -> None:
    assert store.newest_task() is None

    earlier = (SEEN_AT - timedelta(days=1)).isoformat()
    track(store, id="new")
    track(store, id="old", workertoolbox_published_at=earlier)
    newest = store.newest_task()

    assert newest == NewestTask(datetime.fromisoformat(PUBLISHED_AT), SEEN_AT)
    assert newest.lag == timedelta(seconds=2)


def test_messages_in_quarantine_are_counted_and_the_newest_reason_is_first(
    store: TaskStore,
) -> None:
    assert store.count_quarantined() == 0
    assert store.quarantine_reasons() == []

    put_into_quarantine(store, "first", "second", "third")

    assert store.count_quarantined() == 3
    assert store.quarantine_reasons(limit=2) == ["third", "second"]


def test_a_reader_does_not_create_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mistyped.sqlite3"
    with pytest.raises(SchemaOutdated, match="does not exist; check the path, or run"):
        TaskStore(f"workertoolbox+sqlite:///{path}")

    assert not path.exists()


def test_a_store_from_an_engine_does_not_check_the_schema(tmp_path: Path) -> None:
    engine = open_engine(make_url(f"sqlite:///{tmp_path / 'empty.sqlite3'}"))
    with TaskStore.from_engine(engine) as store:
        for read in (
            store.newest_task,
            store.count_quarantined,
            store.quarantine_reasons,
            lambda: store.published_attempts("a"),
        ):
            with pytest.raises(DatabaseUnavailable, match="no such table"):
                read()


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (float("nan"), "NaN"),
        ({"a": float("-inf")}, {"a": "-Infinity"}),
        ("a\0b", r"a\x00b"),
        ("\ud800", r"\ud800"),
        ("a string", "a string"),
    ],
)
def test_any_json_that_celery_writes_as_a_result_is_returned(
    backend: Backend, store: TaskStore, result: Any, shown: Any
) -> None:
    backend.store_result("1", result, states.SUCCESS)

    assert store.get("1").result == shown


def test_a_text_that_no_column_accepts_is_found_as_it_is_stored(
    store: TaskStore,
) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    for name in ("a\0b", "\ud800"):
        track(store, id=name, task=name)
        assert [task.name for task in store.list(name=name)] == [store.get(name).name]

        for answer in (
            store.list(queue=name),
            store.list(worker=name),
            store.list(status="SUCCESS", error_group=name),
            store.stuck_by_p99(queue=name),
            store.backlog_samples(since=hour, queue=name),
        ):
            assert answer == []
        assert len(store.stuck(timedelta(0), name=name)) == 1
        assert store.stats(since=hour, name=name).total.now.count == 0
        assert store.figures(since=hour, status=name).count == 0
        assert store.published_attempts(name) == [0]
        store.check_filters(name=name)
        with pytest.raises(UnknownValue):
            store.check_filters(queue=name)
        with pytest.raises(UnknownStatus):
            store.list(status=name)


def test_a_brief_list_leaves_out_what_may_be_large(
    backend: Backend, store: TaskStore
) -> None:
    track(store, id="1")
    backend.store_result("1", ["x" * 1000], states.STARTED)
    backend.store_result("2", ["x" * 1000], states.FAILURE, traceback="x")
    found = [*store.list(brief=True), *store.stuck(timedelta(-1), brief=True)]

    assert {task.id for task in found} == {"1", "2"}
    for task in found:
        assert (task.args, task.kwargs, task.result, task.traceback) == (None,) * 4
    assert store.get("2").result == ["x" * 1000]


def test_a_brief_list_does_not_read_results(backend: Backend, store: TaskStore) -> None:
    statements: list[str] = []
    event.listen(
        store.engine,
        "before_cursor_execute",
        lambda *args: statements.append(args[2]),
    )
    backend.store_result("1", 42, states.SUCCESS)
    store.list(brief=True)

    assert statements
    assert not any("celery_taskmeta.result" in each for each in statements)
    assert not any("workertoolbox_live.args" in each for each in statements)


@pytest.mark.parametrize("shortened", [True, False])
def test_the_beginning_of_a_result_is_not_shown_as_the_whole_result(
    backend: Backend, store: TaskStore, shortened: bool
) -> None:
    backend.store_result("long", ["x" * 10, "y" * 10_000], states.SUCCESS)
    backend.store_result("failure", ValueError("z" * 10_000), states.FAILURE)
    with store.engine.begin() as connection:
        options = ArchiveOptions(delay_s=0, max_result_bytes=5000)
        assert archive_batch(connection, options) == 2
    long, failure = (store.get(id, shortened=shortened) for id in ("long", "failure"))

    assert long.result[0] == "x" * 10
    assert long.result_bytes == 10_018
    assert long.as_json()["result"] == "<truncated: 10018 bytes>"
    assert failure.as_json()["result"]["exc_type"] == "ValueError"
    assert "ValueError: zzz" in str(store.attempts("failure")[0].error)


def test_a_list_has_the_tasks_of_an_error_group(
    backend: Backend, store: TaskStore
) -> None:
    for id, group in (("1", "a"), ("2", "b")):
        backend.store_result(id, ValueError(id), states.FAILURE)
        with store.engine.begin() as connection:
            stored = update(taskmeta).where(taskmeta.c.task_id == id)
            connection.execute(stored.values(error_group=group))
    live = store.list(error_group="a")
    with store.engine.begin() as connection:
        archive_batch(connection, ArchiveOptions(delay_s=0))

    assert [task.id for task in live] == ["1"]
    assert store.list(error_group="a") == live
    assert store.list(error_group="a", status="SUCCESS") == []


@pytest.mark.parametrize("method", ["get", "attempts", "published_attempts", "why"])
def test_an_id_that_is_not_a_text_is_refused(store: TaskStore, method: str) -> None:
    with pytest.raises(TypeError, match="ids must be strings, got 5"):
        getattr(store, method)(5)
