"""What is queued or untracked, and the watermarks up to which it is kept apart."""

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

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import (
    planned,
    queued,
    task,
    taskmeta,
    untracked,
    watermark,
)
from cadasta.workertoolbox.results._history import watermark as _queued
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
    """Return what the message of a task said that was published and seen then."""
    told = message(id=id, workertoolbox_published_at=ago(age).isoformat(), **headers)
    return read_task(told, seen_at=ago(age))


def late(id: str, age: timedelta, **headers: Any) -> TaskRecord:
    """Return one of a message that waited in its queue, and is seen now."""
    told = message(id=id, workertoolbox_published_at=ago(age).isoformat(), **headers)
    return read_task(told, seen_at=datetime.now(UTC))


def write(store: TaskStore, *records: TaskRecord) -> None:
    with store.engine.begin() as connection:
        write_batch(connection, records)


def write_as_before(store: TaskStore, *records: TaskRecord) -> None:
    """Write as a monitor that knows nothing of the watermark."""
    write(store, *records)
    ids = [each.id for each in records]
    with store.engine.begin() as connection:
        connection.execute(delete(queued).where(queued.c.task_id.in_(ids)))


def sweep(store: TaskStore, until: datetime | None = None) -> bool:
    with store.engine.begin() as connection:
        return WatermarkSweep().advance(connection, until=until or ago(GRACE))


def kept(store: TaskStore) -> set[str]:
    with store.engine.connect() as connection:
        return set(connection.scalars(select(queued.c.task_id)))


def swept_at(store: TaskStore) -> datetime:
    with store.engine.connect() as connection:
        at: datetime = connection.scalars(select(watermark.c.seen_at)).one()
        return at


def listed(store: TaskStore, status: str = "QUEUED") -> list[str]:
    return [task.id for task in store.list(status=status)]


def stuck(store: TaskStore, age: timedelta = 5 * MINUTE) -> list[str]:
    return [task.id for task in store.stuck(age)]


def test_a_queued_task_is_found_whether_or_not_anybody_sweeps(
    store: TaskStore,
) -> None:
    write_as_before(store, record("old", HOUR), record("new", MINUTE))
    before = listed(store), stuck(store)
    sweep(store)

    assert before == (["new", "old"], ["old"])
    assert (listed(store), stuck(store)) == before
    assert kept(store) == {"old"}
    assert swept_at(store) > ago(2 * GRACE)


def test_a_task_that_gets_a_result_is_no_longer_queued(
    store: TaskStore, backend: Backend
) -> None:
    write_as_before(store, record("1", HOUR), record("2", HOUR), record("3", HOUR))
    backend.store_result("1", 42, states.SUCCESS)
    sweep(store)
    first = kept(store)
    backend.store_result("2", 42, states.SUCCESS)
    asked = listed(store), stuck(store)
    sweep(store)

    assert first == {"2", "3"}
    assert asked == (["3"], ["3"])
    assert kept(store) == {"3"}


def test_a_message_that_is_seen_late_is_above_the_watermark(store: TaskStore) -> None:
    sweep(store)
    write(store, late("1", 3 * HOUR))
    before = stuck(store)
    sweep(store)

    assert before == stuck(store) == ["1"]
    assert kept(store) == set()
    sweep(store, datetime.now(UTC))
    assert stuck(store) == ["1"]
    assert kept(store) == {"1"}


def test_a_message_that_is_committed_late_is_put_below_the_watermark(
    store: TaskStore,
) -> None:
    sweep(store)
    write(store, record("after an outage", 3 * MINUTE), record("in time", MINUTE / 2))

    assert kept(store) == {"after an outage"}
    assert stuck(store, 2 * MINUTE) == ["after an outage"]
    sweep(store, datetime.now(UTC))
    assert listed(store) == ["in time", "after an outage"]


def test_messages_and_sweeps_in_any_order_give_the_same(tmp_path: Path) -> None:
    messages = [
        record("1", HOUR, retries=0, eta=None),
        record("1", HOUR / 2, retries=1, eta=ago(-HOUR).isoformat()),
        record("2", HOUR / 3),
    ]
    empty = tmp_path / "empty.sqlite3"
    upgrade(f"sqlite:///{empty}")
    seen = []
    for number, order in enumerate(set(itertools.permutations([0, 1, 2, None, None]))):
        copy = shutil.copy(empty, tmp_path / f"{number}.sqlite3")
        with TaskStore(f"sqlite:///{copy}") as store:
            for each in order:
                if each is None:
                    sweep(store)
                else:
                    write(store, messages[each])
            seen.append((listed(store), listed(store, "SCHEDULED"), stuck(store)))

    assert len(seen) == 60
    assert all(each == (["2"], ["1"], ["2"]) for each in seen)


def test_a_sweep_takes_a_bounded_number_and_goes_on(
    store: TaskStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_queued, "BATCH_SIZE", 3)
    at = ago(HOUR)
    records = [record(str(n), HOUR) for n in range(9)]
    # Some were seen at the same instant.
    seen = [
        each._replace(seen_at=at + n // 4 * MINUTE) for n, each in enumerate(records)
    ]
    write_as_before(store, *seen)
    ends = [sweep(store) for _ in range(3)]

    assert ends == [False, False, True]
    assert kept(store) == set("012345678")

    for n in range(9):
        backend.store_result(str(n), n, states.SUCCESS)
    watermark_sweep = WatermarkSweep()
    left = []
    for _ in range(4):
        with store.engine.begin() as connection:
            is_all = watermark_sweep.advance(connection, until=ago(GRACE))
        left.append((len(kept(store)), is_all))
    assert left == [(6, False), (3, False), (0, False), (0, True)]


def test_the_watermark_is_not_moved_back(store: TaskStore) -> None:
    now = datetime.now(UTC)
    sweep(store, now)
    sweep(store, now - HOUR)

    assert swept_at(store) == now


def store_at(store: TaskStore, id: str, status: str, age: timedelta) -> None:
    """Store a state as a worker did then, in place of any before."""
    row = {"task_id": id, "status": status, "name": "export.project", "queue": "export"}
    row |= {"root_id": "root", "parent_id": "parent"}
    with store.engine.begin() as connection:
        connection.execute(delete(taskmeta).where(taskmeta.c.task_id == id))
        connection.execute(insert(taskmeta).values(**row, date_done=naive(age)))


def naive(age: timedelta) -> datetime:
    return ago(age).replace(tzinfo=None)


def kept_untracked(store: TaskStore) -> set[str]:
    with store.engine.connect() as connection:
        return set(connection.scalars(select(untracked.c.task_id)))


def everywhere(store: TaskStore) -> list[list[str]]:
    """Return the ids that each query finds which may be about untracked tasks."""
    found = (
        store.list(),
        store.list(name="export.project"),
        store.list(queue="export"),
        store.workflow("root"),
        store.children("parent"),
    )
    return [[task.id for task in tasks] for tasks in found]


def test_an_untracked_task_is_found_whether_or_not_anybody_sweeps(
    store: TaskStore,
) -> None:
    store_at(store, "1", states.SUCCESS, 2 * HOUR)
    store_at(store, "2", states.STARTED, HOUR)
    store_at(store, "3", states.SUCCESS, MINUTE)
    before = everywhere(store)
    sweep(store)

    assert before == everywhere(store)
    assert before == [["3", "2", "1"]] * 3 + [["1", "2", "3"]] * 2
    assert kept_untracked(store) == {"1", "2"}


def test_an_untracked_task_is_as_new_as_its_latest_state(store: TaskStore) -> None:
    store_at(store, "1", states.STARTED, 3 * HOUR)
    store_at(store, "2", states.SUCCESS, HOUR)
    sweep(store, ago(2 * HOUR))
    store_at(store, "1", states.SUCCESS, HOUR / 2)
    before = everywhere(store)[0]
    sweep(store)

    assert before == everywhere(store)[0] == ["1", "2"]
    assert listed(store, "SUCCESS") == ["1", "2"]


def test_a_result_whose_message_comes_late_is_no_longer_untracked(
    store: TaskStore,
) -> None:
    for id, age in (("tracked", HOUR / 2), ("untracked", HOUR), ("forgotten", HOUR)):
        store_at(store, id, states.SUCCESS, age)
    sweep(store)
    write(store, late("tracked", 3 * HOUR))
    with store.engine.begin() as connection:
        connection.execute(delete(taskmeta).where(taskmeta.c.task_id == "forgotten"))
    before = everywhere(store)
    sweep(store)

    assert before == everywhere(store)
    assert before[0] == ["untracked", "tracked"]
    assert before[3:] == [["untracked"]] * 2
    assert kept_untracked(store) == {"untracked"}


def test_a_task_that_was_deleted_is_no_longer_queued(store: TaskStore) -> None:
    write_as_before(store, record("1", HOUR))
    sweep(store)
    with store.engine.begin() as connection:
        connection.execute(delete(task))  # as a release that knows of no such table

    assert (listed(store), stuck(store)) == ([], [])
    sweep(store)
    assert kept(store) == set()


def test_a_purge_takes_queued_and_untracked_tasks(
    app: Celery, store: TaskStore
) -> None:
    write_as_before(store, record("1", 48 * HOUR))
    store_at(store, "2", states.SUCCESS, 48 * HOUR)
    sweep(store)
    result = run(app, "purge", "--older-than", "1d")

    assert result.output == "2 tasks deleted\n"
    assert kept(store) == kept_untracked(store) == set()


def test_a_step_that_has_come_is_no_longer_planned(
    store: TaskStore, backend: Backend
) -> None:
    steps = [
        {"task": "export.project", "options": {"task_id": id}} for id in ("a", "b", "c")
    ]
    body = [[], {}, {"chain": steps[::-1]}]
    told = message(body, id="1")
    write(store, read_task(told, seen_at=ago(HOUR)))
    write(store, record("a", HOUR))
    backend.store_result("b", 42, states.SUCCESS)
    sweep(store)
    with store.engine.connect() as connection:
        ids = list(connection.scalars(select(planned.c.id)))

    assert ids == listed(store, "PLANNED") == ["c"]


def test_a_scheduled_task_is_stuck_only_a_while_after_its_eta(
    store: TaskStore,
) -> None:
    for prefix in ("kept", "new"):
        ages = (-HOUR, MINUTE, 10 * MINUTE)
        for n, age in enumerate(ages):
            eta = ago(age).isoformat()
            write(store, late(f"{prefix}{n}", 2 * HOUR, eta=eta))
        if prefix == "kept":
            sweep(store, datetime.now(UTC))

    assert kept(store) == {"kept0", "kept1", "kept2"}
    assert set(stuck(store)) == {"kept2", "new2"}
    assert set(listed(store, "SCHEDULED")) == {"kept0", "new0"}
    assert set(listed(store)) == {"kept1", "kept2", "new1", "new2"}


def test_what_runs_or_waits_for_a_retry_for_long_is_stuck(
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
        store_at(store, id, status, age)

    assert stuck(store) == ["untracked", "queued", "started", "to be retried"]
    assert [each.id for each in store.stuck(5 * MINUTE, limit=2)] == [
        "untracked",
        "queued",
    ]


def test_the_command_narrows_it_down(app: Celery, store: TaskStore) -> None:
    write_as_before(
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
def test_an_age_is_needed(app: Celery, words: list[str]) -> None:
    assert run(app, "stuck", *words).exit_code == 2


def test_a_sweep_that_fails_is_no_failure_of_a_monitor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'results.sqlite3'}"
    upgrade(url)
    engine = open_engine(database_url(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE workertoolbox_watermark")
    watermark_sweep = WatermarkSweep()
    watermark_sweep.advance_if_due(engine)
    watermark_sweep.advance_if_due(engine)
    engine.dispose()

    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert "no such table: workertoolbox_watermark" in caplog.text


@pytest.mark.parametrize(("rest", "goes"), [(0, 4), (1e9, 1)])
def test_a_sweep_that_is_behind_goes_on_after_a_rest(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch, rest: float, goes: int
) -> None:
    monkeypatch.setattr(_queued, "BATCH_SIZE", 3)
    monkeypatch.setattr(_queued, "BEHIND_S", 0)
    monkeypatch.setattr(_queued, "REST_FACTOR", rest)
    write_as_before(store, *(record(str(n), HOUR) for n in range(10)))
    watermark_sweep = WatermarkSweep()
    for _ in range(4):
        watermark_sweep.advance_if_due(store.engine)

    assert len(kept(store)) == min(3 * goes, 10)
