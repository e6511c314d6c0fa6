"""What `TaskStore.health` says of a PostgreSQL database, and the page about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from cadasta.workertoolbox.results import Retention, TaskStore
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.days import Day, add_day
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.tidying import note_retention
from cadasta.workertoolbox.results.web import create_app
from support.brokers import result_backend_url
from support.documented_grants import user_with_role

NOW = datetime.now(UTC)
TODAY = NOW.date()
OLD = TODAY - timedelta(days=20)

#: Days of two retention classes, with their numbers of tasks.
DAYS = {Day("it's", TODAY): 3, Day("default", TODAY): 2, Day("default", OLD): 7}


@pytest.fixture
def store(database: str) -> Iterator[TaskStore]:
    """A store with tasks on some days, whose rows PostgreSQL has counted."""
    with TaskStore(result_backend_url(database)) as store:
        with store.engine.begin() as connection:
            for each, count in DAYS.items():
                assert add_day(connection, each)
                row = {**each._asdict(), "status": "SUCCESS", "tracked": True}
                row |= {"forgotten": False, "finished_at": NOW, "listed_at": NOW}
                rows = [{"id": f"{each} {number}", **row} for number in range(count)]
                connection.execute(history.insert(), rows)
            add_day(connection, Day("default", TODAY + timedelta(days=3)))
        autocommit = store.engine.execution_options(isolation_level="AUTOCOMMIT")
        with autocommit.connect() as connection:
            connection.execute(text("ANALYZE"))
        yield store


def test_a_reader_sees_the_sizes_of_tables_and_days(
    store: TaskStore, database: str
) -> None:
    with (
        user_with_role(database, "reader") as restricted,
        TaskStore(result_backend_url(restricted)) as reader,
        TestClient(create_app(reader)) as client,
    ):
        health = reader.health()
        page = client.get("/health").text
    storage = health.storage
    tables = {each.name: each for each in storage.tables}
    counts = {Day(each.keep, each.day): each.rows for each in storage.days}

    assert {each: counts.get(each) for each in DAYS} == DAYS
    assert max(each.day for each in storage.days) == datetime.now(UTC).date()
    assert [each.day for each in storage.days] == sorted(
        (each.day for each in storage.days), reverse=True
    )
    assert min(each.bytes for each in storage.days) > 0
    assert tables["workertoolbox_history"].rows == sum(DAYS.values())
    assert tables["workertoolbox_history"].bytes >= sum(
        each.bytes for each in storage.days
    )
    assert tables["celery_taskmeta"].rows == 0
    assert storage.bytes == sum(each.bytes for each in storage.tables)
    assert storage.role is not None and storage.role.startswith("role_")
    assert (storage.dialect, storage.can_write) == ("postgresql", False)
    assert storage.server_version.split(".")[0].isdecimal()
    assert f"{storage.role} may only read." in page
    assert str(OLD) in page


def test_a_reader_sees_how_long_tasks_are_kept_and_which_days_there_are(
    store: TaskStore, database: str
) -> None:
    retention = Retention({"default": "9d", "FAILURE": None})
    with store.engine.begin() as connection:
        note_retention(connection, NOW, ArchiveOptions(retention=retention))
    with (
        user_with_role(database, "reader") as restricted,
        TaskStore(result_backend_url(restricted)) as reader,
    ):
        health = reader.health()
    kept = health.retention
    days = [(each.keep, each.days, each.stored_days, each.oldest_day) for each in kept]

    assert days == [
        ("default", 9, len(health.storage.days) - 1, OLD),
        ("FAILURE", None, 0, None),
        # It is not in the setting any more.
        ("it's", 9, 1, TODAY),
    ]
    assert [each.applied_at for each in kept] == [NOW] * 3
    assert [bool(each.bytes) for each in kept] == [True, False, True]
    assert [each.is_overdue(TODAY) for each in kept] == [True, False, False]


def test_rows_of_a_table_that_was_never_analyzed_are_not_known(
    store: TaskStore,
) -> None:
    with store.engine.begin() as connection:
        add_day(connection, Day("new", TODAY))
    [new] = [each for each in store.health().storage.days if each.keep == "new"]

    assert new.rows is None


def test_a_role_that_may_write_is_told_apart(store: TaskStore, database: str) -> None:
    url = f"{result_backend_url(database)}?options=-cdefault_transaction_read_only=on"
    with TaskStore(url) as read_only:
        limited = read_only.health().storage

    assert store.health().storage.can_write
    assert not limited.can_write
    assert limited.role == store.health().storage.role
