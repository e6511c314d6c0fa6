"""Searches know on which days the history has tasks with a value."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, delete, select, text

from cadasta.workertoolbox.results import TaskStore, migrations
from cadasta.workertoolbox.results._database.tables import day_value, history
from cadasta.workertoolbox.results._history.days import Day, add_day
from cadasta.workertoolbox.results._history.tidying import tidy
from cadasta.workertoolbox.results._store.rows.value_days import find_days
from support.task_histories import History

EARLIER_VALUES = ("0029_earlier_day_values", "0042_earlier_status_names")

TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=20)

BOTH = {
    ("name", "export.often", TODAY),
    ("name", "export.often", OLD),
    ("name", "export.rare", OLD),
    ("name", "export.other", TODAY),
    ("queue", "export", TODAY),
    ("queue", "export", OLD),
    ("status", "SUCCESS", TODAY),
    ("status", "FAILURE", TODAY),
    ("status", "FAILURE", OLD),
    ("worker", "one@host", TODAY),
    ("worker", "two@host", TODAY),
    ("worker", "two@host", OLD),
    ("error_group", "1:aa", TODAY),
    ("error_group", "1:aa", OLD),
    ("tracked", "false", OLD),
    ("status_name", "FAILURE export.other", TODAY),
    ("status_name", "FAILURE export.often", OLD),
    ("status_name", "FAILURE export.rare", OLD),
}


@pytest.fixture
def two_days(past: History) -> Iterator[History]:
    """A history with two tasks of today, and two of an earlier day."""
    common = {"keep": "default", "queue": "export", "forgotten": False}
    failed = {"status": "FAILURE", "error_group": "1:aa", "worker": "two@host"}
    rows = [
        ("1", TODAY, {"name": "export.often", "tracked": True, "status": "SUCCESS"}),
        ("2", OLD, {"name": "export.often", "tracked": True, **failed}),
        ("3", OLD, {"name": "export.rare", "tracked": False, **failed}),
        ("4", TODAY, {"name": "export.other", "tracked": True, **failed}),
    ]
    with past.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            for day in (TODAY, OLD):
                add_day(connection, Day("default", day))
        for id, day, values in rows:
            at = datetime(day.year, day.month, day.day, tzinfo=UTC)
            row = {"worker": "one@host", "error_group": None, **common, **values}
            times = {"finished_at": at, "listed_at": at, "id": id, "day": day}
            connection.execute(history.insert().values(**row, **times))
    yield past
    past.clear()


def stored(past: History) -> set[tuple[str, str, date]]:
    with past.engine.connect() as connection:
        return {(*row,) for row in connection.execute(select(day_value))}


def test_each_value_of_a_task_is_known_by_day(two_days: History) -> None:
    assert stored(two_days) == BOTH


@pytest.mark.parametrize(
    ("values", "days"),
    [
        ({}, None),
        ({"name": ["export.often"]}, {TODAY, OLD}),
        ({"name": ["export.rare"]}, {OLD}),
        ({"name": ["export.rare", "nothing"], "status": ["FAILURE"]}, {OLD}),
        ({"name": ["export.rare"], "status": ["SUCCESS"]}, set()),
        ({"name": ["export.often"], "status": ["FAILURE", "REVOKED"]}, {OLD}),
        ({"name": ["export.often"], "status": ["FAILURE", "SUCCESS"]}, {TODAY, OLD}),
        ({"worker": ["one@host"]}, {TODAY}),
        ({"tracked": ["false"]}, {OLD}),
    ],
)
def test_the_days_of_a_search_have_a_value_of_each_kind(
    two_days: History, values: Mapping[str, Collection[str]], days: set[date] | None
) -> None:
    with two_days.engine.connect() as connection:
        assert find_days(connection, values) == days


def test_lists_read_the_days_of_their_values(two_days: History) -> None:
    store = TaskStore.from_engine(two_days.engine)
    rare = [task.id for task in store.list(name="export.rare")]
    of_worker = [task.id for task in store.list(worker="two@host")]
    mixed = store.list(name="export.rare", status="SUCCESS")

    assert (rare, sorted(of_worker), mixed) == (["3"], ["2", "3", "4"], [])


def locked_tables(connection: Connection) -> Sequence[str]:
    """Return the tables and indexes that a transaction has locked."""
    if connection.dialect.name == "sqlite":
        return []
    query = "SELECT relation::regclass::text FROM pg_locks WHERE relation IS NOT NULL"
    own = f"{query} AND pid = pg_backend_pid()"
    return connection.scalars(text(own)).all()


def test_an_upgrade_finds_the_values_of_earlier_tasks(two_days: History) -> None:
    with two_days.engine.begin() as connection:
        connection.execute(delete(day_value))
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            for revision in EARLIER_VALUES:
                import_module(f"{migrations.__name__}.versions.{revision}").upgrade()
        locked = locked_tables(connection)
    found = stored(two_days)

    assert found >= BOTH
    assert {kind for kind, *_ in found - BOTH} <= {"status", "tracked"}
    assert [name for name in locked if "history" in name] == []


def test_values_of_days_before_the_history_are_deleted(two_days: History) -> None:
    before = {"kind": "name", "value": "export.often", "day": OLD - timedelta(days=80)}
    with two_days.engine.begin() as connection:
        connection.execute(day_value.insert().values(**before))
        tidy(connection, datetime.now(UTC), two_days.options)

    assert stored(two_days) == BOTH
