"""The tables of queued and untracked tasks, and their watermarks."""

from __future__ import annotations

import itertools
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states
from messages import message
from sqlalchemy import delete, insert, select
from test_commands import objects, run

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import (
    planned,
    queued,
    task,
    taskmeta,
    untracked,
    watermark,
)
from cadasta.workertoolbox.results._history import watermark as watermark_module
from cadasta.workertoolbox.results._history.watermark import GRACE, WatermarkSweep
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def ago(age: timedelta) -> datetime:
    return datetime.now(UTC) - age


def record(id: str, age: timedelta, **headers: Any) -> TaskRecord:
    """Return the record of a message that was published and seen some time ago."""
    sent = message(id=id, workertoolbox_published_at=ago(age).isoformat(), **headers)
    return read_task(sent, seen_at=ago(age))


def late_record(id: str, age: timedelta, **headers: Any) -> TaskRecord:
    """Return the record of a message that waited in its queue and is seen now."""
    sent = message(id=id, workertoolbox_published_at=ago(age).isoformat(), **headers)
    return read_task(sent, seen_at=datetime.now(UTC))


def write(store: TaskStore, *records: TaskRecord) -> None:
    with store.engine.begin() as connection:
        write_batch(connection, records)


def write_without_late_rows(store: TaskStore, *records: TaskRecord) -> None:
    """Write like a monitor of an earlier release, which inserts no queued tasks."""
    write(store, *records)
    ids = [each.id for each in records]
    with store.engine.begin() as connection:
        connection.execute(delete(queued).where(queued.c.task_id.in_(ids)))


def sweep(store: TaskStore, until: datetime | None = None) -> bool:
    with store.engine.begin() as connection:
        return WatermarkSweep().advance(connection, until=until or ago(GRACE))


def queued_ids(store: TaskStore) -> set[str]:
    with store.engine.connect() as connection:
        return set(connection.scalars(select(queued.c.task_id)))


def queued_watermark(store: TaskStore) -> datetime:
    with store.engine.connect() as connection:
        at: datetime = connection.scalars(select(watermark.c.seen_at)).one()
        return at


def listed_ids(store: TaskStore, status: str = "QUEUED") -> list[str]:
    return [task.id for task in store.list(status=status)]


def stuck_ids(store: TaskStore, age: timedelta = 5 * MINUTE) -> list[str]:
    return [task.id for task in store.stuck(age)]


def test_a_queued_task_is_found_before_and_after_a_sweep(
    store: TaskStore,
) -> None:
    write_without_late_rows(store, record("old", HOUR), record("new", MINUTE))
    before = listed_ids(store), stuck_ids(store)
    sweep(store)

    assert before == (["new", "old"], ["old"])
    assert (listed_ids(store), stuck_ids(store)) == before
    assert queued_ids(store) == {"old"}
    assert queued_watermark(store) > ago(2 * GRACE)


def test_a_task_that_gets_a_result_is_no_longer_queued(
    store: TaskStore, backend: Backend
) -> None:
    write_without_late_rows(
        store, record("1", HOUR), record("2", HOUR), record("3", HOUR)
    )
    backend.store_result("1", 42, states.SUCCESS)
    sweep(store)
    first = queued_ids(store)
    backend.store_result("2", 42, states.SUCCESS)
    found = listed_ids(store), stuck_ids(store)
    sweep(store)

    assert first == {"2", "3"}
    assert found == (["3"], ["3"])
    assert queued_ids(store) == {"3"}


def test_a_message_that_is_seen_late_is_above_the_watermark(store: TaskStore) -> None:
    sweep(store)
    write(store, late_record("1", 3 * HOUR))
    before = stuck_ids(store)
    sweep(store)

    assert before == stuck_ids(store) == ["1"]
    assert queued_ids(store) == set()
    sweep(store, datetime.now(UTC))
    assert stuck_ids(store) == ["1"]
    assert queued_ids(store) == {"1"}


def test_a_message_that_is_committed_late_is_stored_as_queued_at_once(
    store: TaskStore,
) -> None:
    sweep(store)
    write(store, record("after an outage", 3 * MINUTE), record("in time", MINUTE / 2))

    assert queued_ids(store) == {"after an outage"}
    assert stuck_ids(store, 2 * MINUTE) == ["after an outage"]
    sweep(store, datetime.now(UTC))
    assert listed_ids(store) == ["in time", "after an outage"]


def test_messages_and_sweeps_in_any_order_give_the_same_answers(
    template: Path, tmp_path: Path
) -> None:
    messages = [
        record("1", HOUR, retries=0, eta=None),
        record("1", HOUR / 2, retries=1, eta=ago(-HOUR).isoformat()),
        record("2", HOUR / 3),
    ]
    seen = []
    for number, order in enumerate(set(itertools.permutations([0, 1, 2, None, None]))):
        copy = shutil.copy(template, tmp_path / f"{number}.sqlite3")
        with TaskStore(f"sqlite:///{copy}") as store:
            for each in order:
                if each is None:
                    sweep(store)
                else:
                    write(store, messages[each])
            seen.append(
                (listed_ids(store), listed_ids(store, "SCHEDULED"), stuck_ids(store))
            )

    assert len(seen) == 60
    assert all(each == (["2"], ["1"], ["2"]) for each in seen)


def test_a_sweep_reads_a_limited_number_of_rows_and_the_next_continues(
    store: TaskStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watermark_module, "BATCH_SIZE", 3)
    at = ago(HOUR)
    records = [record(str(n), HOUR) for n in range(9)]
    # Four messages are seen at the same instant.
    seen = [
        each._replace(seen_at=at + n // 4 * MINUTE) for n, each in enumerate(records)
    ]
    write_without_late_rows(store, *seen)
    done = [sweep(store) for _ in range(3)]

    assert done == [False, False, True]
    assert queued_ids(store) == set("012345678")

    for n in range(9):
        backend.store_result(str(n), n, states.SUCCESS)
    repeated_sweep = WatermarkSweep()
    left = []
    for _ in range(4):
        with store.engine.begin() as connection:
            is_done = repeated_sweep.advance(connection, until=ago(GRACE))
        left.append((len(queued_ids(store)), is_done))
    assert left == [(6, False), (3, False), (0, False), (0, True)]


def test_the_watermark_never_moves_back(store: TaskStore) -> None:
    now = datetime.now(UTC)
    sweep(store, now)
    sweep(store, now - HOUR)

    assert queued_watermark(store) == now


def store_state(store: TaskStore, id: str, status: str, age: timedelta) -> None:
    """Store a state as a worker would have some time ago; replace any earlier one."""
    row = {"task_id": id, "status": status, "name": "export.project", "queue": "export"}
    row |= {"root_id": "root", "parent_id": "parent"}
    with store.engine.begin() as connection:
        connection.execute(delete(taskmeta).where(taskmeta.c.task_id == id))
        connection.execute(insert(taskmeta).values(**row, date_done=naive_ago(age)))


def naive_ago(age: timedelta) -> datetime:
    return ago(age).replace(tzinfo=None)


def untracked_ids(store: TaskStore) -> set[str]:
    with store.engine.connect() as connection:
        return set(connection.scalars(select(untracked.c.task_id)))


def find_everywhere(store: TaskStore) -> list[list[str]]:
    """Return the ids found by each query that may find untracked tasks."""
    found = (
        store.list(),
        store.list(name="export.project"),
        store.list(queue="export"),
        store.workflow("root"),
        store.children("parent"),
    )
    return [[task.id for task in tasks] for tasks in found]


def test_an_untracked_task_is_found_before_and_after_a_sweep(
    store: TaskStore,
) -> None:
    store_state(store, "1", states.SUCCESS, 2 * HOUR)
    store_state(store, "2", states.STARTED, HOUR)
    store_state(store, "3", states.SUCCESS, MINUTE)
    before = find_everywhere(store)
    sweep(store)

    assert before == find_everywhere(store)
    assert before == [["3", "2", "1"]] * 3 + [["1", "2", "3"]] * 2
    assert untracked_ids(store) == {"1", "2"}


def test_an_untracked_task_is_sorted_by_its_latest_state(store: TaskStore) -> None:
    store_state(store, "1", states.STARTED, 3 * HOUR)
    store_state(store, "2", states.SUCCESS, HOUR)
    sweep(store, ago(2 * HOUR))
    store_state(store, "1", states.SUCCESS, HOUR / 2)
    before = find_everywhere(store)[0]
    sweep(store)

    assert before == find_everywhere(store)[0] == ["1", "2"]
    assert listed_ids(store, "SUCCESS") == ["1", "2"]


def test_a_result_whose_message_arrives_late_is_no_longer_untracked(
    store: TaskStore,
) -> None:
    ages = {"tracked": HOUR / 2, "untracked": HOUR, "forgotten": 2 * HOUR}
    for id, age in ages.items():
        store_state(store, id, states.SUCCESS, age)
    sweep(store)
    write(store, late_record("tracked", 3 * HOUR))
    with store.engine.begin() as connection:
        connection.execute(delete(taskmeta).where(taskmeta.c.task_id == "forgotten"))
    before = find_everywhere(store)
    sweep(store)

    assert before == find_everywhere(store)
    assert before[0] == ["untracked", "forgotten", "tracked"]
    assert before[3:] == [["forgotten", "untracked"]] * 2
    assert untracked_ids(store) == {"untracked", "forgotten"}


def test_a_deleted_task_is_no_longer_queued(store: TaskStore) -> None:
    write_without_late_rows(store, record("1", HOUR))
    sweep(store)
    with store.engine.begin() as connection:
        connection.execute(delete(task))  # As a purge of an earlier release does.

    assert (listed_ids(store), stuck_ids(store)) == ([], [])
    sweep(store)
    assert queued_ids(store) == set()


def test_a_purge_deletes_queued_and_untracked_tasks(
    app: Celery, store: TaskStore
) -> None:
    write_without_late_rows(store, record("1", 48 * HOUR))
    store_state(store, "2", states.SUCCESS, 48 * HOUR)
    sweep(store)
    result = run(app, "purge", "--older-than", "1d")

    assert result.output == "2 tasks deleted\n"
    assert queued_ids(store) == untracked_ids(store) == set()


def test_a_published_step_is_no_longer_planned(
    store: TaskStore, backend: Backend
) -> None:
    steps = [
        {"task": "export.project", "options": {"task_id": id}} for id in ("a", "b", "c")
    ]
    body = [[], {}, {"chain": steps[::-1]}]
    sent = message(body, id="1")
    write(store, read_task(sent, seen_at=ago(HOUR)))
    write(store, record("a", HOUR))
    backend.store_result("b", 42, states.SUCCESS)
    sweep(store)
    with store.engine.connect() as connection:
        ids = list(connection.scalars(select(planned.c.id)))

    assert ids == listed_ids(store, "PLANNED") == ["c"]


def test_a_scheduled_task_is_stuck_only_some_time_after_its_eta(
    store: TaskStore,
) -> None:
    for prefix in ("swept", "new"):
        ages = (-HOUR, MINUTE, 10 * MINUTE)
        for n, age in enumerate(ages):
            eta = ago(age).isoformat()
            write(store, late_record(f"{prefix}{n}", 2 * HOUR, eta=eta))
        if prefix == "swept":
            sweep(store, datetime.now(UTC))

    assert queued_ids(store) == {"swept0", "swept1", "swept2"}
    assert set(stuck_ids(store)) == {"swept2", "new2"}
    assert set(listed_ids(store, "SCHEDULED")) == {"swept0", "new0"}
    assert set(listed_ids(store)) == {"swept1", "swept2", "new1", "new2"}


def test_a_task_that_runs_or_waits_for_a_retry_for_long_is_stuck(
    store: TaskStore, backend: Backend
) -> None:
    ahead = ago(-HOUR).isoformat()
    write(
        store,
        record("queued", 4 * HOUR),
        record("started", 6 * HOUR),
        record("to be retried", 6 * HOUR),
        record("to be retried later", 6 * HOUR, eta=ahead),
        record("done", 6 * HOUR),
        record("started now", 6 * HOUR),
    )
    for id, status, age in (
        ("started", states.STARTED, 3 * HOUR),
        ("untracked", states.STARTED, 5 * HOUR),
        ("to be retried", states.RETRY, 2 * HOUR),
        ("to be retried later", states.RETRY, 5 * HOUR),
        ("done", states.FAILURE, 5 * HOUR),
        ("started now", states.STARTED, MINUTE),
    ):
        store_state(store, id, status, age)

    assert stuck_ids(store) == ["untracked", "queued", "started", "to be retried"]
    assert [each.id for each in store.stuck(5 * MINUTE, limit=2)] == [
        "untracked",
        "queued",
    ]


def test_the_stuck_command_filters_tasks(app: Celery, store: TaskStore) -> None:
    write_without_late_rows(
        store,
        record("1", 3 * HOUR),
        record("2", 2 * HOUR, task="msg.send", routing_key="msg"),
        record("3", 2 * HOUR, task="celery.chord_unlock"),
        record("4", MINUTE),
    )
    sweep(store)

    def ids(*words: str) -> list[str]:
        given = ("stuck", "--older-than", "15m", *words)
        return [one["id"] for one in objects(app, *given)]

    assert ids() == ["1", "2"]
    assert ids("--name", "msg.send") == ids("--queue", "msg") == ["2"]
    assert ids("--internal", "--limit", "2") == ["1", "2"]
    assert ids("--name", "celery.chord_unlock") == ["3"]
    assert "msg.send" in run(app, "stuck", "--older-than", "15m").output


@pytest.mark.parametrize(
    "words", [[], ["--older-than", "15"], ["--older-than", "999999w"]]
)
def test_the_stuck_command_requires_an_age(app: Celery, words: list[str]) -> None:
    assert run(app, "stuck", *words).exit_code == 2


def test_a_failed_sweep_is_logged_and_retried_later(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(database_url(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE workertoolbox_watermark")
    repeated_sweep = WatermarkSweep()
    repeated_sweep.advance_if_due(engine)
    repeated_sweep.advance_if_due(engine)
    engine.dispose()

    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert "no such table: workertoolbox_watermark" in caplog.text


@pytest.mark.parametrize(("rest_factor", "sweeps"), [(0, 4), (1e9, 1)])
def test_a_sweep_that_is_behind_continues_after_a_pause(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch, rest_factor: float, sweeps: int
) -> None:
    monkeypatch.setattr(watermark_module, "BATCH_SIZE", 3)
    monkeypatch.setattr(watermark_module, "BEHIND_S", 0)
    monkeypatch.setattr(watermark_module, "REST_FACTOR", rest_factor)
    write_without_late_rows(store, *(record(str(n), HOUR) for n in range(10)))
    repeated_sweep = WatermarkSweep()
    for _ in range(4):
        repeated_sweep.advance_if_due(store.engine)

    assert len(queued_ids(store)) == min(3 * sweeps, 10)
