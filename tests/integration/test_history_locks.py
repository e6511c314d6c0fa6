"""Searches of a long history lock few of its tables at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import states
from sqlalchemy import Connection, event, text

from cadasta.workertoolbox.results import TaskStore, read_lock_use
from cadasta.workertoolbox.results._database.archived import find_archived
from cadasta.workertoolbox.results._database.snapshot import MARK, release_locks
from cadasta.workertoolbox.results._history.tidying import tidy
from cadasta.workertoolbox.results._store.fleet.routes import read_routes
from cadasta.workertoolbox.results._store.rows.filters import Filters
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.search.filtered import find_newest
from support.task_histories import History

#: Days that have tables, besides those that every database has.
DAYS = 30

#: More than the locks of two days with their indexes, and of the live tables.
MAX_LOCKS = 60

#: More than the locks of the largest window, 16 days with their indexes, and of live
#: tables; all days have 500.
MAX_LOCKS_AT_A_TIME = 300

#: The days whose tables the transaction has locked.
LOCKED_DAYS = r"""
SELECT DISTINCT substring(locked FROM '\d+$')
FROM (SELECT relation::regclass::text AS locked, pid FROM pg_locks) locks
WHERE pid = pg_backend_pid() AND locked ~ '^workertoolbox_history_default_\d+$'
"""

LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"

on_postgresql = pytest.mark.parametrize("opened", ["postgresql"], indirect=True)


@pytest.fixture
def long_past(past: History) -> Iterator[History]:
    """A history of many days."""
    add_day = text("SELECT workertoolbox_add_day('default', :day)")
    today = datetime.now(UTC).date()
    with past.engine.begin() as connection:
        for number in range(DAYS):
            connection.execute(add_day, {"day": today - timedelta(days=number)})
    yield past


def count_locks(connection: Connection) -> int:
    return int(connection.execute(text(LOCKS)).scalar_one())


@contextmanager
def reading(past: History) -> Iterator[tuple[Connection, list[int]]]:
    """Yield a connection as a store has it, and the numbers of locks it has had."""
    held: list[int] = []

    def count(connection: Connection, cursor: Any, *_: object) -> None:
        with cursor.connection.cursor() as counting:
            counting.execute(LOCKS)
            held.append(counting.fetchone()[0])

    with past.engine.begin() as connection:
        connection.exec_driver_sql(MARK)
        event.listen(connection, "after_cursor_execute", count)
        yield connection, held
        release_locks(connection)
    assert held[-1] < MAX_LOCKS


@on_postgresql
def test_searches_of_all_days_release_their_locks(long_past: History) -> None:
    with reading(long_past) as (connection, held):
        find_archived(connection, ids=["x"], roots=["x"], groups=["x"], parents=["x"])
        by_key = held[-1]
        find_newest(connection, Filters(), 10, Detail.BRIEF)

    assert by_key < MAX_LOCKS < max(held) < MAX_LOCKS_AT_A_TIME


@on_postgresql
def test_reading_tasks_of_many_days_releases_its_locks(long_past: History) -> None:
    insert = (
        "INSERT INTO workertoolbox_history"
        " (id, keep, day, status, finished_at, listed_at, tracked, forgotten)"
        " SELECT n::text, 'default', current_date - n, 'SUCCESS', now(), now(), true,"
        " false FROM generate_series(0, 29) n RETURNING id, day"
    )
    with long_past.engine.begin() as connection:
        days = {id: day for id, day in connection.execute(text(insert))}
    with reading(long_past) as (connection, held):
        found = read_tasks(connection, [*days], days=days)
    long_past.clear()

    assert {task.id for task in found} == {*days}
    assert MAX_LOCKS < max(held) < MAX_LOCKS_AT_A_TIME


@on_postgresql
@pytest.mark.parametrize("method", ["list", "search"])
def test_tasks_on_many_days_are_read_by_the_queries_that_find_them(
    long_past: History, method: str
) -> None:
    insert = (
        "INSERT INTO workertoolbox_history"
        " (id, keep, day, name, args, result, status, finished_at, listed_at, tracked,"
        " forgotten) SELECT n::text, 'default', current_date - n, 'rare', '[1]', '2',"
        " 'SUCCESS', now() - n * interval '1 day', now() - n * interval '1 day', true,"
        " false FROM generate_series(0, 29) n"
    )
    with long_past.engine.begin() as connection:
        connection.execute(text(insert))
    store, statements = TaskStore.from_engine(long_past.engine), list[str]()
    held: list[int] = []

    def note(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)
        with cursor.connection.cursor() as counting:
            counting.execute(LOCKS)
            held.append(counting.fetchone()[0])

    event.listen(long_past.engine, "after_cursor_execute", note)
    if method == "list":
        found = store.list(name="rare")
    else:
        found = store.search("name:rare").tasks
    event.remove(long_past.engine, "after_cursor_execute", note)
    long_past.clear()

    assert [task.id for task in found] == [str(number) for number in range(30)]
    assert {(str(task.args), task.result) for task in found} == {("[1]", 2)}
    # Windows of 4, 16 and 10 days.
    assert sum("FROM workertoolbox_history" in each for each in statements) == 3
    assert MAX_LOCKS < max(held) < MAX_LOCKS_AT_A_TIME
    # Only the first and the last round trip are not for a query.
    first, *queries, last = statements
    assert (first[:5], last) == ("BEGIN", "ROLLBACK")
    assert all(re.match("SELECT|WITH", query) for query in queries)


@on_postgresql
def test_queries_of_the_last_days_lock_no_tables_of_days_ahead(
    long_past: History,
) -> None:
    with long_past.engine.begin() as connection:
        read_routes(connection, since=datetime.now(UTC), internal=True)
        locked = connection.scalars(text(LOCKED_DAYS)).all()

    today = datetime.now(UTC).date()
    days = [today + timedelta(days=number) for number in (0, 1)]
    assert {*locked} == {f"{day:%Y%m%d}" for day in days}


@on_postgresql
def test_late_messages_and_the_archiver_lock_few_days(long_past: History) -> None:
    past = long_past
    past.store(states.FAILURE, ValueError("no map"))
    past.publish("2")
    past.archive()
    past.delete_result()
    with past.engine.begin() as connection:
        past.publish(connection=connection)
        by_message = count_locks(connection)
    with past.engine.begin() as connection:
        tidy(connection, datetime.now(UTC), past.options)
        by_housekeeping = count_locks(connection)
    shown = [(row["status"], row["tracked"]) for row in past.shown()]
    past.archive()

    assert shown == [("FAILURE", True), ("QUEUED", True)]
    assert max(by_message, by_housekeeping) < 3 * MAX_LOCKS


@on_postgresql
def test_the_locks_of_a_query_on_the_whole_history_are_known(
    long_past: History,
) -> None:
    use = read_lock_use(long_past.engine)
    with long_past.engine.connect() as connection:
        connection.execute(text("SELECT id FROM workertoolbox_history"))
        held = count_locks(connection)

    assert use is not None
    assert use.tables >= DAYS
    assert use.locks == pytest.approx(held, rel=0.1)
    assert not use.is_high


@on_postgresql
@pytest.mark.parametrize("age", [1, 20])
def test_the_newest_of_two_ends_of_an_id_is_shown(long_past: History, age: int) -> None:
    insert = (
        "INSERT INTO workertoolbox_history"
        " (id, keep, day, status, finished_at, listed_at, tracked, forgotten)"
        " SELECT '1', 'default', current_date - age, status, now(), now(), true, false"
        " FROM (VALUES (0, 'SUCCESS'), (:age, 'FAILURE')) AS ends (age, status)"
    )
    with long_past.engine.begin() as connection:
        connection.execute(text(insert), {"age": age})
    store = TaskStore.from_engine(long_past.engine)
    shown = store.get("1").status
    pages = (store.list(), store.search().tasks)
    listed = [[task.status for task in page] for page in pages]
    long_past.clear()

    assert (shown, listed) == ("SUCCESS", [["SUCCESS"], ["SUCCESS"]])


@on_postgresql
def test_an_old_workflow_is_read_on_the_days_that_have_its_tasks(
    long_past: History,
) -> None:
    insert = (
        "INSERT INTO workertoolbox_history"
        " (id, keep, day, root_id, group_id, name, status, scheduled_at, finished_at,"
        " listed_at, tracked, forgotten) SELECT id, 'default', at::date, root_id,"
        " group_id, 'step', 'SUCCESS', at, at, at, true, false"
        " FROM (VALUES ('root', 28, 'root', NULL), ('old', 27, 'root', 'group'),"
        " ('new', 0, 'root', NULL), ('other', 3, 'other', 'group'))"
        " AS step (id, age, root_id, group_id),"
        " LATERAL (SELECT now() - age * interval '1 day') AS instant (at)"
    )
    with long_past.engine.begin() as connection:
        connection.execute(text(insert))
    workflow = TaskStore.from_engine(long_past.engine).workflow("root")
    long_past.clear()

    assert [task.id for task in workflow] == ["root", "old", "other", "new"]


@on_postgresql
def test_a_step_whose_announcement_was_stored_days_after_its_end_is_not_planned(
    long_past: History,
) -> None:
    ended = (
        "INSERT INTO workertoolbox_history"
        " (id, keep, day, status, finished_at, listed_at, tracked, forgotten)"
        " VALUES ('ended', 'default', current_date - 6, 'SUCCESS', now(), now(), true,"
        " false)"
    )
    planned = (
        "INSERT INTO workertoolbox_planned (id, name, seen_at)"
        " VALUES ('ended', 'step', now()), ('planned', 'step', now())"
    )
    with long_past.engine.begin() as connection:
        connection.execute(text(ended))
        connection.execute(text(planned))
    found = TaskStore.from_engine(long_past.engine).list(status="PLANNED")
    long_past.clear()

    assert [task.id for task in found] == ["planned"]


@on_postgresql
def test_the_newest_task_is_found_in_tables_of_days(long_past: History) -> None:
    long_past.publish()
    long_past.store(states.SUCCESS)
    store = TaskStore.from_engine(long_past.engine)
    live = store.newest_task()
    archived = long_past.archive()

    assert archived == 1
    assert live is not None
    assert store.newest_task() == live
