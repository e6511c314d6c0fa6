"""The numbers of the rows in Celery's tables do not run out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from alembic import command
from celery import Celery, states
from celery.result import GroupResult
from sqlalchemy import create_engine, text

from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.results._database.schema import HEAD_REVISION
from cadasta.workertoolbox.results._database.upgrade import (
    TABLE_LOCK_S,
    alembic_config,
)
from support.brokers import result_backend_url
from support.checkups import run_check, with_database
from support.polling import wait_until
from support.result_backends import REQUEST, app_with_backend
from support.statements import execute, fetch

TYPE = (
    "SELECT format_type(atttypid, NULL) FROM pg_attribute"
    " WHERE attrelid = 'celery_taskmeta'::regclass AND attname = 'id'"
)

REVISION = "SELECT version_num FROM workertoolbox_version"


def last_value(database: str, sequence: str) -> int:
    [[value]] = fetch(database, f"SELECT last_value FROM {sequence}")
    return int(value)


def make_old(database: str) -> None:
    """Give a database the schema of an older release, without rows."""
    engine = create_engine(database)
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
        connection.commit()
        command.upgrade(alembic_config(connection), "0007")
    engine.dispose()


def test_a_row_takes_one_number_however_many_states_are_stored(database: str) -> None:
    with app_with_backend(result_backend_url(database)) as app:
        backend: Any = app.backend
        for id in ("1", "2"):
            for state in ("PROGRESS", states.STARTED, "PROGRESS", states.SUCCESS):
                backend.store_result(id, 1, state, request=REQUEST)
                assert backend.get_state(id) == state
            for _ in range(10):
                backend.store_result(id, 1, states.SUCCESS, request=REQUEST)
                backend.store_result(id, 1, states.SUCCESS)
        group = GroupResult("g", [app.AsyncResult("1")])
        for _ in range(10):
            group.save(backend=backend)
        restored = GroupResult.restore("g", app=app)

        assert restored.results == group.results
        assert last_value(database, "task_id_sequence") == 2
        assert last_value(database, "taskset_id_sequence") == 1


def test_results_are_stored_beyond_four_bytes(database: str) -> None:
    execute(database, f"SELECT setval('task_id_sequence', {2**31})")
    with app_with_backend(result_backend_url(database)) as app:
        app.backend.store_result("1", 1, states.SUCCESS)

        assert app.AsyncResult("1").get(timeout=1) == 1
    assert fetch(database, "SELECT id FROM celery_taskmeta") == [(2**31 + 1,)]


def test_an_upgrade_rewrites_a_large_table_only_if_asked_to(database: str) -> None:
    make_old(database)
    url = result_backend_url(database)
    execute(
        database,
        "ALTER TABLE celery_taskmeta ALTER COLUMN result SET STORAGE EXTERNAL",
        "INSERT INTO celery_taskmeta (task_id, result) "
        "VALUES ('1', convert_to(repeat('x', 70000000), 'UTF8'))",
    )
    revision = upgrade(url)
    before = fetch(database, TYPE)
    upgrade(url, widen_ids=True)

    assert revision == HEAD_REVISION
    assert before == [("integer",)]
    assert fetch(database, TYPE) == [("bigint",)]
    assert fetch(database, "SELECT task_id FROM celery_taskmeta") == [("1",)]


def test_an_upgrade_waits_for_a_locked_table_while_workers_go_on(database: str) -> None:
    make_old(database)
    url = result_backend_url(database)
    insert = (
        "SET statement_timeout = '5s'; "
        "INSERT INTO celery_taskmeta (task_id) VALUES ('{}')"
    )
    engine = create_engine(database)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as other:
            other.execute(text("SELECT * FROM celery_taskmeta"))
            upgraded = pool.submit(upgrade, url)
            wait_until(lambda: fetch(database, REVISION) == [("0008",)], timeout_s=30)
            for number in range(3):
                # Each waits for the upgrade's next try at the longest.
                execute(database, insert.format(number))
                time.sleep(TABLE_LOCK_S / 2)
            was_waiting = not upgraded.done()
        revision = upgraded.result(timeout=30)
    engine.dispose()

    assert was_waiting
    assert revision == HEAD_REVISION
    assert fetch(database, TYPE) == [("integer",)]
    assert fetch(database, "SELECT count(*) FROM celery_taskmeta") == [(3,)]


def test_an_upgrade_widens_the_ids_of_a_small_table(database: str) -> None:
    make_old(database)
    upgrade(result_backend_url(database))

    assert fetch(database, TYPE) == [("bigint",)]


def test_the_check_warns_when_half_of_the_numbers_are_used(
    undeclared_app: Celery, database: str
) -> None:
    execute(
        database,
        "ALTER TABLE celery_taskmeta ALTER COLUMN id TYPE integer",
        f"SELECT setval('task_id_sequence', {2**30 - 1})",
    )
    app = with_database(undeclared_app, database)
    before = run_check(app)
    execute(database, "SELECT nextval('task_id_sequence')")
    execute(database, "SELECT nextval('task_id_sequence')")
    after = run_check(app)

    assert "result ids" not in before.details("warning")
    assert "50% of its numbers" in after.details("warning")["result ids"]
    assert "--widen-ids" in after.advice("result ids")
