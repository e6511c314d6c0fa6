"""Whole days of the history in PostgreSQL are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, text

from cadasta.workertoolbox.results import Retention
from cadasta.workertoolbox.results._history.days import existing_days
from cadasta.workertoolbox.results._history.ended_tasks import archive_options
from cadasta.workertoolbox.results._history.purge import (
    DAY_TASKS,
    DAYS,
    DAYS_IN_USE,
    count,
    drop_expired,
    find_older,
    purge,
)
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from support.archived_tasks import archived_ids, days_ago, insert_archived_tasks
from support.brokers import result_backend_url
from support.expired_tasks import remaining_ids
from support.result_backends import app_with_backend
from support.statements import fetch
from support.task_commands import call_tasks_command

#: A name of a task with all characters that PostgreSQL might misread.
ODD_NAME = "a'b\"c%s%%d\\e\nf:g {h} ü✓." + "x" * 180


#: Makes a task live again, as a second end does.
LIVE_AGAIN = """
UPDATE celery_taskmeta SET archived_at = NULL, date_done = now() + interval '1 day'
WHERE task_id = 'bad-1'
"""


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database, poolclass=NullPool)
    yield engine
    engine.dispose()


def begin_of_day_ago(days: int) -> datetime:
    """Return the beginning of a day."""
    return datetime.combine(days_ago(days), time(), UTC)


def deleted(engine: Engine, before: datetime, **filters: str) -> Counter[str]:
    return sum(purge(engine, find_older(engine, before, **filters)), Counter())


def test_expired_days_are_dropped_by_class_without_reading_them(
    database: str, engine: Engine
) -> None:
    for keep, prefix in (("default", "d"), ("FAILURE", "f"), (ODD_NAME, "o")):
        for age in (10, 90, 91, 400):
            name = f"{prefix}{age}-"
            insert_archived_tasks(database, name, 3, age_days=age, keep=keep)
    fetch(database, "ANALYZE")
    reads: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def record(_: object, __: object, statement: str, *___: object) -> None:
        if "FROM workertoolbox_history" in statement or "DELETE" in statement:
            reads.append(statement)

    retention = Retention({"default": "90d", "FAILURE": "365d", ODD_NAME: "7d"})
    total = drop_expired(engine, retention)
    kept = {id[:-2] for id in archived_ids(database)}
    with engine.connect() as connection:
        days = {(day.keep, day.day) for day in existing_days(connection)}

    assert total == {DAYS: 7, DAY_TASKS: 21}
    assert kept == {"d10", "d90", "f10", "f90", "f91"}
    assert (ODD_NAME, days_ago(10)) not in days
    assert ("default", days_ago(91)) not in days
    assert {("default", days_ago(90)), ("FAILURE", days_ago(91))} <= days
    assert reads == []


def test_a_purge_drops_whole_days_and_deletes_the_rest_of_the_boundary_day(
    database: str, engine: Engine
) -> None:
    insert_archived_tasks(database, "old-", 3, age_days=9, results=True)
    insert_archived_tasks(database, "bad-", 3, age_days=9, keep="FAILURE")
    insert_archived_tasks(database, "edge-", 5, age_days=8, results=True)
    insert_archived_tasks(database, "new-", 3, age_days=7, results=True)
    before = begin_of_day_ago(8) + timedelta(seconds=4)
    expired = find_older(engine, before)
    counted = count(engine, expired)
    total = deleted(engine, before)
    results = remaining_ids(database)["celery_taskmeta"]

    assert counted == total == {DAYS: 2, DAY_TASKS: 6, "tasks": 3}
    kept = {"edge-4", "edge-5", "new-1", "new-2", "new-3"}
    assert archived_ids(database) == results == kept


def test_a_purge_by_status_or_name_deletes_rows_and_skips_locked_ones(
    database: str, engine: Engine
) -> None:
    insert_archived_tasks(database, "good-", 2, age_days=9)
    insert_archived_tasks(database, "bad-", 5, age_days=9, keep="FAILURE", results=True)
    fetch(database, LIVE_AGAIN)
    before = begin_of_day_ago(0)
    with create_engine(database).begin() as connection:
        lock = "SELECT FROM workertoolbox_history WHERE id = 'bad-2' FOR UPDATE"
        connection.execute(text(lock))
        lock = "SELECT FROM celery_taskmeta WHERE task_id = 'bad-3' FOR UPDATE"
        connection.execute(text(lock))
        total = deleted(engine, before, status="FAILURE")
        results = remaining_ids(database)["celery_taskmeta"]

    assert total == {"tasks": 3}
    # A task that is live again is kept, and so is a result that is being written.
    assert archived_ids(database) == {"good-1", "good-2", "bad-1", "bad-2"}
    assert results == {"bad-1", "bad-2", "bad-3"}
    assert deleted(engine, before, name="export.echo") == {"tasks": 3}
    assert archived_ids(database) == {"bad-1"}


def test_the_command_drops_days_older_than_retention_allows_unless_they_are_in_use(
    database: str, engine: Engine
) -> None:
    insert_archived_tasks(database, "old-", 3, age_days=9)
    insert_archived_tasks(database, "bad-", 1200, age_days=10, keep="FAILURE")
    fetch(database, "ANALYZE")
    app = app_with_backend(result_backend_url(database))
    app.conf.RETENTION = {"default": "7d"}
    counted = call_tasks_command(app, "purge", "--dry-run")
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as long:
        long.execute(text("SELECT count(*) FROM workertoolbox_history"))
        with pytest.raises(AssertionError) as refused:
            call_tasks_command(app, "purge")
        kept = long.scalar(text("SELECT count(*) FROM workertoolbox_history"))
    dropped = call_tasks_command(app, "purge")

    assert counted == (
        f"{days_ago(10)}: about 1200 tasks of FAILURE\n"
        f"{days_ago(9)}: about 3 tasks\n"
        "0 tasks, 2 whole days with about 1203 tasks would be deleted\n"
    )
    assert str(refused.value).splitlines()[:2] == [
        "0 tasks deleted",
        "Error: 2 whole days are kept, because another transaction reads or writes the "
        "history; run it again later",
    ]
    assert kept == 1203
    assert dropped == "0 tasks, 2 whole days with about 1203 tasks deleted\n"


def test_readers_wait_less_than_half_a_second_for_a_day_that_is_in_use(
    database: str, engine: Engine
) -> None:
    insert_archived_tasks(database, "old-", 3, age_days=9)
    read = text("SELECT count(*) FROM workertoolbox_history")
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as long,
        engine.connect() as reader,
        ThreadPoolExecutor(1) as thread,
    ):
        long.execute(read)
        drop = thread.submit(drop_expired, engine, Retention({"default": "7d"}))
        while not drop.done():
            reader.execute(text("SET LOCAL lock_timeout = '500ms'"))
            assert reader.scalar(read) == 3
            reader.rollback()

    assert drop.result() == {DAYS_IN_USE: 1}
    assert drop_expired(engine, Retention({"default": "7d"}))[DAYS] == 1


def test_the_archiver_puts_tasks_into_their_class_and_drops_old_days(
    database: str, engine: Engine
) -> None:
    insert_archived_tasks(database, "old-", 3, age_days=9)
    insert_archived_tasks(database, "bad-", 3, age_days=9, keep="FAILURE")
    app = app_with_backend(result_backend_url(database))
    app.conf.ARCHIVE_AFTER = "0s"
    app.conf.RETENTION = {"default": "7d", "FAILURE": None}
    backend: Any = app.backend
    backend.store_result("new", 42, "SUCCESS")
    backend.store_result("failed", ValueError("no"), "FAILURE")
    archiving = Archiving(engine, archive_options(app), should_stop=lambda: False)
    archived = archiving.run_once()
    default = "SELECT id FROM workertoolbox_history WHERE keep = 'default'"
    kept = fetch(database, default)
    backend.database.close()

    assert archived == 2
    assert kept == [("new",)]
    assert archived_ids(database) == {"new", "failed", "bad-1", "bad-2", "bad-3"}
