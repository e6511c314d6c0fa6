from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from messages import message
from sqlalchemy import Engine, Table, delete, select, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    planned,
    quarantine,
    schedule,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.records import Record, TaskRecord
from cadasta.workertoolbox.results._monitor.scheduled_runs import ScheduledRun
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._schedules.runs import Run
from cadasta.workertoolbox.results._workflows.steps import Step

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def read(retries: int, *, replaced: int = 0, name: str = "export.project") -> Record:
    return read_task(
        message(
            [[retries], {}, {}],
            retries=retries,
            replaced_task_nesting=replaced,
            task=name,
            workertoolbox_published_at=f"2026-01-01T00:00:{replaced}{retries}+00:00",
        ),
        seen_at=NOW,
    )


def tables(url: str, *batches: Sequence[Record]) -> list[list[Any]]:
    engine = open_engine(database_url(url))
    rows = written(engine, *batches)
    engine.dispose()
    return rows


def written(engine: Engine, *batches: Sequence[Record]) -> list[list[Any]]:
    for batch in batches:
        with engine.begin() as connection:
            write_batch(connection, batch)
    with engine.connect() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table))]
            for table in (task, attempt, quarantine)
        ]


MESSAGES = [read(0), read(1), read(2), read(0, replaced=1, name="export.other")]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_rows_do_not_depend_on_order_or_batches(url: str, size: int) -> None:
    seen = []
    # One engine compiles the statements once.
    engine = open_engine(database_url(url))
    for order in itertools.permutations(MESSAGES):
        batches = [order[start : start + size] for start in range(0, 4, size)]
        tasks, attempts, _ = written(engine, *batches)
        seen.append((tasks, sorted(attempts)))
        with engine.begin() as connection:
            for table in (task, attempt):
                connection.execute(delete(table))
    engine.dispose()

    assert all(rows == seen[0] for rows in seen)
    [[row], attempts] = seen[0]
    values = dict(zip(task.c.keys(), row, strict=True))
    assert (values["name"], values["args"]) == ("export.other", [0])
    assert values["scheduled_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert len(attempts) == 4


def test_writing_a_batch_again_changes_nothing(url: str) -> None:
    batch = [
        *MESSAGES,
        quarantine_record(message("x"), reason="not valid JSON", seen_at=NOW),
    ]
    once = tables(url, batch)
    twice = tables(url, batch, [*reversed(batch), *batch])

    assert once == twice
    assert [len(rows) for rows in once] == [1, 4, 1]


def rows_of(engine: Engine, table: Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        # In the order in which they were inserted.
        query = select(table).order_by(text("rowid"))
        return [dict(row) for row in connection.execute(query).mappings()]


def record(id: str = "1", **values: Any) -> TaskRecord:
    return read_task(message(id=id), seen_at=NOW)._replace(**values)


def step(id: str) -> Step:
    return Step(
        id=id,
        name=f"export.{id}",
        parent_id=f"parent-{id}",
        header_id=f"header-{id}",
        group_id=f"group-{id}",
        queue="export",
    )


def test_a_batch_stores_all_that_its_messages_say(store: TaskStore) -> None:
    run = ScheduledRun(
        service="shop",
        entry="nightly",
        name="export.project",
        origin="gen1@host",
        started_at=None,
        max_interval_s=None,
        run=Run(
            task_id="1",
            sent_at=NOW,
            due_at=None,
            next_at=None,
            beat="gen1@host",
            schedule="daily",
            timezone=None,
        ),
        entries=None,
    )
    given = record(planned=(step("3"), step("2")), refused="no", run=run)
    unread = quarantine_record(message("x"), reason="not valid JSON", seen_at=NOW)
    written(store.engine, [unread, given])
    [stored] = rows_of(store.engine, task)
    [message_of] = rows_of(store.engine, attempt)
    [ended, *steps] = rows_of(store.engine, taskmeta)

    assert stored == {name: getattr(given, name) for name in task.c.keys()}
    fields = {"task_id": "id", "scheduled_at": "published_at"}
    assert message_of == {
        name: getattr(given, fields.get(name, name)) for name in attempt.c.keys()
    }
    assert rows_of(store.engine, planned) == [
        {
            "id": id,
            "name": f"export.{id}",
            "root_id": "1",
            "parent_id": f"parent-{id}",
            "header_id": f"header-{id}",
            "group_id": f"group-{id}",
            "seen_at": NOW,
        }
        for id in "23"
    ]
    assert (ended["task_id"], ended["status"]) == ("1", "REVOKED")
    assert [row["task_id"] for row in steps] == ["2", "3"]
    [entry] = rows_of(store.engine, schedule)
    assert (entry["service"], entry["entry"]) == ("shop", "nightly")
    [kept] = rows_of(store.engine, quarantine)
    assert {name: kept[name] for name in asdict(unread)} == asdict(unread)


def test_rows_are_written_in_the_order_of_their_ids(store: TaskStore) -> None:
    """Monitors that write the same rows in different orders could deadlock."""
    given = [record(id, planned=(step(f"{id}b"), step(f"{id}a"))) for id in "213"]
    unread = [
        quarantine_record(message(f"x{n}"), reason="no", seen_at=NOW) for n in range(5)
    ]
    written(store.engine, [*given, *sorted(unread, key=lambda each: each.digest)[::-1]])
    digests = [row["digest"] for row in rows_of(store.engine, quarantine)]

    assert [row["id"] for row in rows_of(store.engine, task)] == ["1", "2", "3"]
    assert [row["id"] for row in rows_of(store.engine, planned)] == [
        *("1a", "1b", "2a", "2b", "3a", "3b")
    ]
    assert digests == sorted(digests) and len(digests) == 5


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ((0, 0), (1, 1), "second"),
        ((1, 1), (0, 0), "first"),
        ((0, 1), (1, 0), "second"),
        ((0, 0), (0, 1), "first"),
        ((None, 0), (1, 1), "first"),
        ((0, 1), (None, 0), "second"),
        ((None, 0), (None, 0), "first"),
    ],
)
def test_of_two_messages_of_an_attempt_a_batch_keeps_the_last_publication(
    store: TaskStore,
    first: tuple[int | None, int],
    second: tuple[int | None, int],
    kept: str,
) -> None:
    hours = {None: None, 0: NOW, 1: NOW + timedelta(hours=1)}
    given = [
        record(
            name=name,
            published_at=hours[published],
            scheduled_at=hours[scheduled],
            planned=(step(name),),
        )
        for name, (published, scheduled) in (("first", first), ("second", second))
    ]
    others = [record(replaced=1), record(retries=1), record("2")]
    written(store.engine, [*given, *others])
    attempts = rows_of(store.engine, attempt)

    assert [row["id"] for row in rows_of(store.engine, planned)] == [kept]
    assert [row["name"] for row in attempts] == [kept, *["export.project"] * 3]


def test_a_faulty_row_of_another_table_does_not_keep_a_batch_from_being_written(
    store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    given = [
        record(f"{number:03}" + "x" * 200 * (number < 30), refused="no")
        for number in range(31)
    ]
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER longer BEFORE INSERT ON celery_taskmeta "
            "WHEN length(new.task_id) > 155 "
            "BEGIN SELECT raise(ABORT, 'too long'); END"
        )
    written(store.engine, given)

    assert len(rows_of(store.engine, task)) == 31
    assert [row["task_id"] for row in rows_of(store.engine, taskmeta)] == ["030"]
    assert caplog.text.count("is left out") == 30
