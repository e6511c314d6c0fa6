"""A row that cannot be processed does not stop the housekeeping of other rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

import pytest
from celery import states
from sqlalchemy import Column, Connection, Table, Text, insert, select, text, update

from cadasta.workertoolbox.results import Retention
from cadasta.workertoolbox.results._database.given_rows import encode_rows, given_rows
from cadasta.workertoolbox.results._database.tables import (
    backlog,
    error_group,
    history,
    monitor,
    planned,
    rollup,
    schedule,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from support.faulty_values import faulty_values, set_all, set_value
from support.task_histories import History

#: How long ago the tasks ended, by the end of their ids. The archiver takes the tasks
#: that ended a minute ago, and closes steps after half a minute.
AGES = {
    "ended": timedelta(minutes=5),
    "broken": timedelta(minutes=5),
    "undated": None,
    "failed": timedelta(seconds=25),
    "retried": timedelta(minutes=8),
    "running": timedelta(hours=7),
}

#: The status of each task after the housekeeping.
EXPECTED = {
    "ended": "SUCCESS",
    "broken": "FAILURE",
    "undated": "SUCCESS",
    "failed": "FAILURE",
    "retried": "REVOKED",
    "running": "LOST",
    "step": "FAILURE",
    "expired": "REVOKED",
    "seen": "QUEUED",
}

#: The tables that have a row for each task, with the column of its id.
OF_TASKS = {task: "id", taskmeta: "task_id", planned: "id", history: "id"}

#: The columns of the ids.
IDS = {"id", "task_id"}

#: The tasks that only the archiver takes.
ARCHIVED = {"ended", "broken", "undated", "old"}


def store_tasks(past: History, prefix: str) -> None:
    """Store a task for each part of the housekeeping."""
    now = datetime.now(UTC)
    expires = (now - timedelta(minutes=5)).isoformat()
    for name in ("ended", "broken", "undated", "failed", "running", "seen"):
        past.publish(f"{prefix}-{name}")
    past.publish(f"{prefix}-expired", expires=expires)
    past.publish(f"{prefix}-retried", expires=expires)
    past.store(states.RETRY, ValueError("again"), f"{prefix}-retried")
    past.publish(f"{prefix}-retried", retries=1, expires=expires)
    for name in ("ended", "undated"):
        past.store(states.SUCCESS, 42, f"{prefix}-{name}")
    for name in ("failed", "broken"):
        past.store(states.FAILURE, ValueError("no map"), f"{prefix}-{name}")
    past.store(states.STARTED, None, f"{prefix}-running", worker="gone@host")
    step = {"name": "export.echo", "root_id": "1", "seen_at": now}
    with past.engine.begin() as connection:
        for name, age in AGES.items():
            at = age and naive_utc(now - age)
            same = taskmeta.c.task_id == f"{prefix}-{name}"
            connection.execute(update(taskmeta).where(same).values(date_done=at))
        steps = [
            {**step, "id": f"{prefix}-step", "parent_id": f"{prefix}-failed"},
            {**step, "id": f"{prefix}-seen", "parent_id": f"{prefix}-failed"},
        ]
        connection.execute(insert(planned), steps)
        store_old(connection, f"{prefix}-old", now - timedelta(days=50))


def store_old(connection: Connection, id: str, at: datetime) -> None:
    """Store a task of the history that is older than its retention."""
    row = {"id": id, "keep": "default", "day": at.date(), "status": "SUCCESS"}
    row |= {"finished_at": at, "listed_at": at, "tracked": True, "forgotten": False}
    if connection.dialect.name == "postgresql":
        add = text("SELECT workertoolbox_add_day('default', :day)")
        connection.execute(add, {"day": at.date()})
    connection.execute(insert(history), row)


def values_of(past: History, table: Table) -> Iterator[tuple[Column[Any], str]]:
    """Yield the columns of a table beside its key with faulty values as SQL."""
    for column in table.c:
        if not column.primary_key and column.name not in IDS:
            for value in faulty_values(column, past.engine.dialect.name):
                yield column, value


def store_faulty(past: History, table: Table, key: str) -> int:
    """Store copies of the tasks, each with a faulty value in a row of the table.

    Returns:
        The number of faulty rows.
    """
    with past.engine.begin() as connection:
        query = select(table.c[key]).where(table.c[key].like("good-%"))
        names = [id.removeprefix("good-") for id in connection.scalars(query)]
        # The archiver takes its tasks one by one, so one of them has the value.
        kinds = [sorted(name for name in names if name in ARCHIVED)]
        kinds += [[name] for name in sorted({*names} - ARCHIVED)]
        faulty = [
            (f"bad{number}-{kind[number % len(kind)]}", column, value)
            for number, (column, value) in enumerate(values_of(past, table))
            for kind in filter(None, kinds)
        ]
        _copy(connection, [id for id, *_ in faulty])
        for id, column, value in faulty:
            set_value(connection, column, value, where=key, id=id)
    return len(faulty)


def _copy(connection: Connection, ids: Sequence[str]) -> None:
    """Copy the rows of good tasks to other ids."""
    pair = [Column("new", Text), Column("good", Text)]
    pairs = given_rows(connection.dialect.name, pair).subquery("pair")
    rows = [[id, f"good-{id.partition('-')[2]}"] for id in ids]
    for table, key in OF_TASKS.items():
        columns = [each for each in table.c if each.name not in IDS]
        query = select(pairs.c.new, *columns).join_from(
            pairs, table, table.c[key] == pairs.c.good
        )
        copied = insert(table).from_select([table.c[key], *columns], query)
        connection.execute(copied.inline(), {"rows": encode_rows(rows)})


@pytest.fixture
def tidied(past: History) -> Iterator[History]:
    """A history whose archiver drops old tasks, without figures."""
    past.options = ArchiveOptions(retention=Retention({"default": "30d"}))
    with past.engine.begin() as connection:
        for table in (backlog, monitor):
            connection.execute(table.delete())
    yield past
    past.clear()
    with past.engine.begin() as connection:
        for table in (backlog, monitor):
            connection.execute(table.delete())


def run(past: History) -> None:
    """Do the housekeeping once, and archive the ended tasks."""
    Archiving(past.engine, past.options, should_stop=lambda: False).run_once()


def outcomes(past: History, prefix: str) -> dict[str, str]:
    """Return the statuses of tasks by the end of their ids, without the old task."""
    query = text(
        "SELECT id, status FROM workertoolbox_live WHERE id LIKE :ids UNION ALL"
        " SELECT id, status FROM workertoolbox_history h WHERE id LIKE :ids"
        " AND NOT EXISTS (SELECT FROM workertoolbox_task t WHERE t.id = h.id)"
        if past.engine.dialect.name == "postgresql"
        else "SELECT id, status FROM workertoolbox_live WHERE id LIKE :ids UNION ALL"
        " SELECT id, status FROM workertoolbox_history WHERE id LIKE :ids"
    )
    with past.engine.connect() as connection:
        rows = connection.execute(query, {"ids": f"{prefix}-%"}).all()
    return {id.removeprefix(f"{prefix}-"): status for id, status in rows}


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of parts of the housekeeping that failed."""
    signs = ("of the history: ", "tasks cannot be archived", "are not dropped")
    return [each for each in caplog.messages if any(sign in each for sign in signs)]


@pytest.mark.parametrize("table", OF_TASKS, ids=str)
def test_a_task_with_a_faulty_value_does_not_stop_other_tasks(
    tidied: History, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    past = tidied
    store_tasks(past, "good")
    assert store_faulty(past, table, OF_TASKS[table]) > 10
    for _ in range(2):  # A run looks for twenty faulty rows of a kind.
        run(past)

    assert outcomes(past, "good") == EXPECTED
    assert failures(caplog) == []


@pytest.mark.parametrize("table", [rollup, backlog, error_group, monitor], ids=str)
def test_a_faulty_figure_does_not_stop_the_archiver(
    tidied: History, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    past = tidied
    report = {"id": "gone", "reported_at": datetime.now(UTC)}
    store_tasks(past, "first")
    with past.engine.begin() as connection:
        connection.execute(insert(monitor), report)
    run(past)
    with past.engine.connect() as connection:
        assert connection.execute(select(table)).first() is not None
    columns = dict.fromkeys(column for column, _ in values_of(past, table))
    faulty = (faulty_values(column, past.engine.dialect.name) for column in columns)
    for number, values in enumerate(zip_longest(*faulty)):
        with past.engine.begin() as connection:
            for column, value in zip(columns, values, strict=True):
                if value is not None:
                    set_all(connection, column, value)
            if table is backlog:  # The next sample is taken in a later minute.
                connection.execute(backlog.delete().where(backlog.c.tier == "minute"))
        store_tasks(past, f"then{number}")
        run(past)

        assert outcomes(past, f"then{number}") == EXPECTED, values
        assert failures(caplog) == [], values


@pytest.mark.parametrize("opened", ["postgresql"], indirect=True)
def test_a_table_that_cannot_be_dropped_does_not_keep_the_others(
    tidied: History, caplog: pytest.LogCaptureFixture
) -> None:
    past = tidied
    now = datetime.now(UTC)
    days = [now - timedelta(days=number) for number in (52, 51)]
    with past.engine.begin() as connection:
        for at in days:
            store_old(connection, f"old-{at:%d}", at)
        oldest = f"workertoolbox_history_default_{days[0]:%Y%m%d}"
        connection.execute(text(f"CREATE VIEW kept AS SELECT * FROM {oldest}"))
    run(past)
    left = [row["id"] for row in past.rows()]
    with past.engine.begin() as connection:
        connection.execute(text("DROP VIEW kept"))

    assert left == [f"old-{days[0]:%d}"]
    assert f"{days[0].date()} of the class 'default'" in caplog.text


def test_ids_that_are_too_long_for_results_stop_no_other_task(
    tidied: History, caplog: pytest.LogCaptureFixture
) -> None:
    past = tidied
    long = "x" * 200
    store_tasks(past, "good")
    past.publish(long, expires=(datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    with past.engine.begin() as connection:
        same = planned.c.id == "good-step"
        step = connection.execute(select(planned).where(same)).mappings().one()
        connection.execute(insert(planned), {**step, "id": f"{long}-step"})
    for _ in range(2):
        run(past)
    logged = [each for each in caplog.messages if "is left out" in each]

    assert outcomes(past, "good") == EXPECTED
    if past.engine.dialect.name == "postgresql":
        assert sorted(each.partition(" is left")[0] for each in logged) == [
            f"end of task {long}",
            f"end of task {long}-step",
        ]


def test_a_faulty_entry_of_a_schedule_does_not_keep_its_tasks_from_being_stored(
    tidied: History, caplog: pytest.LogCaptureFixture
) -> None:
    past = tidied

    def publish(id: str, entry: str) -> None:
        past.publish(id, workertoolbox_beat={"entry": entry, "id": id})

    publish("first", "tick")
    for value in faulty_values(schedule.c.runs, past.engine.dialect.name):
        with past.engine.begin() as connection:
            set_value(connection, schedule.c.runs, value, where="entry", id="tick")
        publish(f"tick {value}", "tick")
        publish(f"tock {value}", "tock")
    ids = {row["id"] for row in past.shown()}
    with past.engine.begin() as connection:
        counts = select(schedule.c["count"]).where(schedule.c.entry == "tock")
        count = connection.scalar(counts)
        connection.execute(schedule.delete())

    assert count == len(ids) // 2 > 5
    assert "entry of beat's schedule tick is left out" in caplog.text
