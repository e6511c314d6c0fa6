"""The archiver counts each task once, also after kills, locks and disconnections.

The long form is `hatch run faults --archiver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from celery import states
from sqlalchemy import Connection, NullPool, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results import open_engine
from cadasta.workertoolbox.results._database.tables import task
from cadasta.workertoolbox.results._history.archiver import (
    IDLE_TIMEOUT_MS,
    archive_batch,
    lock_archive,
)
from cadasta.workertoolbox.results._history.retention import Retention
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from faults.archiver_faults import FAULTS
from faults.archiver_fleet import run_archiver_fleet
from servers.postgresql import PostgreSQL
from support.polling import wait_until
from support.proxy import run_proxy
from support.statements import execute, fetch
from support.task_histories import History, open_history

#: The seed of the faults of a fleet, and of its tasks.
SEED = 1126

#: Seconds that an archiver may take although something is locked.
PATIENCE_S = 15.0

#: Bytes of the server's answers between two points where the archiver is cut off.
STEP_BYTES = 300

#: Sessions that wait for a lock.
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

#: A role that can read a result only when the gate is open: when nobody holds a lock.
GATED_ROLE = (
    "CREATE ROLE gated",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO gated",
    "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO gated",
    """
    CREATE FUNCTION pass_gate() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP
            PERFORM pg_sleep(0.01);
        END LOOP;
        RETURN true;
    END $$
    """,
    "ALTER TABLE celery_taskmeta ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY gate ON celery_taskmeta USING (pass_gate())",
)
UNGATED = (
    "DROP POLICY gate ON celery_taskmeta",
    "ALTER TABLE celery_taskmeta DISABLE ROW LEVEL SECURITY",
    "DROP FUNCTION pass_gate",
    "DROP OWNED BY gated",
    "DROP ROLE gated",
)

#: Sessions that wait at the gate.
AT_GATE = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep'
"""


@pytest.fixture(scope="module")
def opened(postgresql: PostgreSQL) -> Iterator[History]:
    """A history in PostgreSQL, for all tests of this module."""
    with postgresql.database() as url, open_history(url) as opened:
        yield opened


def archive(past: History) -> int:
    """Archive all ended tasks, as `tasks archive --once` does."""
    archiving = Archiving(past.engine, past.options, should_stop=lambda: False)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(archiving.run_once)
        try:
            return done.result(PATIENCE_S)
        except TimeoutError:
            fetch(
                past.engine.url,
                "SELECT pg_terminate_backend(pid)"
                " FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            )
            raise


@contextmanager
def idle_session(past: History, statement: str) -> Iterator[Connection]:
    """Execute a statement in a transaction that stays open during the block."""
    with past.engine.connect() as connection:
        connection.execute(text(statement))
        yield connection
        connection.rollback()


@contextmanager
def gated_archiver(past: History) -> Iterator[tuple[Connection, Connection]]:
    """Yield a connection whose statements stop at each result, with the gate.

    They have their snapshot by then, and go on when the gate is rolled back.
    """
    url = past.engine.url
    execute(url, *GATED_ROLE)
    engine = create_engine(url.update_query_dict({"options": "-c role=gated"}))
    try:
        with engine.connect() as archiver, past.engine.connect() as gate:
            gate.execute(text("SELECT pg_advisory_xact_lock(1)"))
            yield archiver, gate
    finally:
        engine.dispose()
        execute(url, *UNGATED)


def shown_statuses(past: History) -> dict[str, str]:
    """Return the status of each task by its id; each is shown once."""
    rows = past.shown()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["status"] for row in rows}


def assert_all_archived(past: History, *ids: str) -> None:
    """Assert that the history has these tasks, and the live tables have none."""
    assert [row["id"] for row in past.rows()] == sorted(ids)
    with past.engine.connect() as connection:
        live = connection.scalar(select(func.count()).select_from(task))

    assert (live, past.unarchived()) == (0, 0)


@pytest.mark.parametrize(
    ("locked", "others"),
    [
        ("SELECT 1 FROM workertoolbox_task WHERE id = '1' FOR UPDATE", 2),
        ("SELECT 1 FROM celery_taskmeta WHERE task_id = '1' FOR UPDATE", 2),
        ("SELECT 1 FROM workertoolbox_attempt WHERE task_id = '1' FOR UPDATE", 2),
        ("SELECT 1 FROM workertoolbox_planned WHERE id = '1' FOR UPDATE", 3),
        ("SELECT 1 FROM workertoolbox_history WHERE id = '1' FOR UPDATE", 2),
        ("LOCK TABLE workertoolbox_history IN SHARE UPDATE EXCLUSIVE MODE", 3),
    ],
    ids=["message", "result", "attempt", "planned", "history", "vacuum"],
)
def test_a_session_that_holds_a_lock_stops_its_task_and_no_other(
    past: History, locked: str, others: int
) -> None:
    past.publish("1")
    past.store(states.FAILURE, ValueError("first"), "1")
    past.archive()
    past.publish("1", retries=1)
    past.store(states.SUCCESS, 1, "1", retries=1, worker="b@host")
    announce = (
        "INSERT INTO workertoolbox_planned (id, name, seen_at)"
        " VALUES ('1', 'export.echo', now())"
    )
    fetch(past.engine.url, announce)
    for id in ("2", "3"):
        past.publish(id)
        past.store(states.SUCCESS, 1, id)
    with idle_session(past, locked):
        archived = archive(past)
        shown = shown_statuses(past)

    assert archived == others
    assert shown == dict.fromkeys("123", states.SUCCESS)
    archive(past)
    assert_all_archived(past, "1", "2", "3")


def test_a_retention_class_whose_table_cannot_be_created_does_not_stop_the_archiver(
    past: History,
) -> None:
    retention = Retention({"export.echo": "7d"})
    past.options = replace(past.options, retention=retention)
    past.store(states.SUCCESS, 1)
    with idle_session(
        past, "LOCK TABLE workertoolbox_history IN SHARE UPDATE EXCLUSIVE MODE"
    ):
        archived = archive(past)

    assert archived == 1
    assert [row["keep"] for row in past.rows()] == ["default"]


def test_a_session_that_holds_a_lock_does_not_keep_a_monitor_from_stopping(
    past: History,
) -> None:
    past.publish()
    past.store(states.SUCCESS, 1)
    stopping = Event()
    archiving = Archiving(past.engine, past.options, should_stop=stopping.is_set)
    with (
        ThreadPoolExecutor(1) as pool,
        idle_session(past, "LOCK TABLE workertoolbox_history IN ACCESS EXCLUSIVE MODE"),
    ):
        ended = pool.submit(archiving.run)
        wait_until(lambda: fetch(past.engine.url, WAITING) == [(1,)])
        stopping.set()
        ended.result(PATIENCE_S)

    assert archive(past) == 1


def test_an_archiver_that_hangs_does_not_keep_others_from_archiving(
    past: History,
) -> None:
    past.store(states.SUCCESS, 1)
    engine = open_engine(past.engine.url)
    with engine.connect() as hanging:
        assert lock_archive(hanging)
        limit = "idle_in_transaction_session_timeout"
        assert hanging.scalar(text(f"SHOW {limit}")) == f"{IDLE_TIMEOUT_MS // 1000}s"
        assert archive(past) == 0
        hanging.execute(text(f"SET LOCAL {limit} = '100ms'"))
        wait_until(lambda: archive(past) == 1)
        with pytest.raises(DBAPIError):
            hanging.execute(text("SELECT 1"))
    engine.dispose()


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_message_that_is_committed_after_its_result_was_archived_is_merged(
    past: History, forgotten: bool
) -> None:
    past.store(states.SUCCESS, 1)
    with past.engine.connect() as archiver, ThreadPoolExecutor(1) as pool:
        assert archive_batch(archiver, past.options) == 1
        published = pool.submit(past.publish)
        wait_until(lambda: published.done() or fetch(past.engine.url, WAITING)[0][0])
        archiver.commit()
        published.result()
    if forgotten:
        past.app.backend.forget("1")
    shown = shown_statuses(past)
    archive(past)

    assert shown == {"1": states.SUCCESS}
    assert past.rows()[0]["tracked"]
    assert_all_archived(past, "1")


def test_a_message_that_is_written_while_its_result_is_archived_is_merged(
    past: History,
) -> None:
    past.store(states.SUCCESS, 1)
    with past.engine.connect() as monitor:
        past.publish(connection=monitor)
        archived = archive(past)
        monitor.commit()
    archive(past)

    assert archived == 0
    assert past.rows()[0]["tracked"]
    assert_all_archived(past, "1")


@pytest.mark.parametrize("deleted", [False, True])
def test_a_message_that_is_written_before_its_result_and_committed_after_is_merged(
    past: History, deleted: bool
) -> None:
    with past.engine.connect() as monitor:
        past.publish(connection=monitor)
        past.store(states.SUCCESS, 1)
        assert archive(past) == 1
        if deleted:
            past.delete_result()
        monitor.commit()
    archive(past)

    assert shown_statuses(past) == {"1": states.SUCCESS}
    assert past.rows()[0]["tracked"]
    assert_all_archived(past, "1")


def test_a_message_that_is_committed_while_its_result_is_looked_up_is_archived_with_it(
    past: History,
) -> None:
    past.store(states.SUCCESS, 1)
    with gated_archiver(past) as (archiver, gate), ThreadPoolExecutor(1) as pool:
        archived = pool.submit(archive_batch, archiver, past.options)
        try:
            wait_until(lambda: fetch(past.engine.url, AT_GATE) == [(1,)])
            past.publish()
        finally:
            gate.rollback()
        assert archived.result() == 1
        archiver.commit()

    assert past.rows()[0]["tracked"]
    assert_all_archived(past, "1")


def test_an_archiver_that_is_cut_off_anywhere_counts_each_task_once(
    past: History,
) -> None:
    past.publish("again")
    past.store(states.FAILURE, ValueError("first"), "again")
    past.archive()
    past.publish("again", retries=1)
    past.store(states.SUCCESS, 1, "again", retries=1, worker="b@host")
    past.publish("new")
    past.store(states.SUCCESS, 1, "new")
    # Its day is created in the same transaction.
    fetch(
        past.engine.url,
        "UPDATE celery_taskmeta SET date_done = date_done - interval '100 days'"
        " WHERE task_id = 'new'",
    )
    url = past.engine.url
    cuts = 0
    with run_proxy(str(url.host), url.port or 0) as proxy:
        engine = open_engine(url.set(port=proxy.port), poolclass=NullPool)
        while past.unarchived():
            proxy.cut_response(1, after_bytes=cuts * STEP_BYTES)
            cuts += 1
            with suppress(DBAPIError), engine.begin() as connection:
                archive_batch(connection, past.options)

            assert shown_statuses(past) == dict.fromkeys(("again", "new"), "SUCCESS")
            past.check_rollups()
    engine.dispose()

    assert cuts > 20
    assert_all_archived(past, "again", "new")
    assert [len(row["attempts"] or ()) for row in past.rows()] == [1, 0]


def test_each_task_is_in_the_history_once_after_faults_of_each_kind(
    tmp_path: Path,
) -> None:
    tasks = run_archiver_fleet(tmp_path, faults=len(FAULTS), seed=SEED, longest_s=0.6)

    assert tasks >= 400
