"""The command that deletes old tasks, on PostgreSQL, beside monitors and workers."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import create_engine, event, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._history.purge import BATCH_SIZE, purge_expired
from support.brokers import Broker, result_backend_url
from support.expired_tasks import (
    TABLES,
    deadlock_count,
    execute,
    hold_deletion,
    insert_expired_tasks,
    remaining_ids,
    wait_until_deletion_is_held,
)
from support.polling import wait_until
from support.processes import Process
from support.task_commands import run_monitor, run_tasks_command

NOTHING: dict[str, set[str]] = {table: set() for table in TABLES}

#: Nothing listens there, and nothing is asked.
NO_BROKER = "amqp://127.0.0.1:1//"

OLD = ("--older-than", "30d")


@pytest.fixture
def purging(
    database: str, tmp_path: Path
) -> Callable[..., AbstractContextManager[Process]]:
    """Run the command on that database as long as a block lasts."""
    environment = {
        "WORKERTOOLBOX_BROKER_URL": NO_BROKER,
        "WORKERTOOLBOX_RESULT_BACKEND": result_backend_url(database),
    }
    return lambda *words: run_tasks_command(environment, tmp_path, "purge", *words)


def last_line(process: Process, *, exit_code: int = 0) -> str:
    """Wait for the end, and return what was written last."""
    assert process.wait(timeout_s=60) == exit_code, process.tail
    return process.text.splitlines()[-1]


VARIETY = """
UPDATE celery_taskmeta SET status = 'FAILURE'
WHERE task_id IN ('old-00001', 'old-00002');
UPDATE workertoolbox_task SET name = 'msg.send' WHERE id IN ('old-00002', 'old-00003');
DELETE FROM celery_taskmeta WHERE task_id = 'old-00004';
DELETE FROM workertoolbox_task WHERE id IN ('old-00005', 'old-00006');
DELETE FROM workertoolbox_attempt WHERE task_id IN ('old-00005', 'old-00006');
DELETE FROM celery_taskmeta WHERE task_id = 'old-00006';
UPDATE workertoolbox_task SET eta = now() - interval '20 days' WHERE id = 'old-00007';
UPDATE workertoolbox_task SET scheduled_at = now() WHERE id = 'old-00008';
"""


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (OLD, "12345690"),
        ((*OLD, "--status", "FAILURE"), "12"),
        ((*OLD, "--name", "msg.send"), "23"),
        ((*OLD, "--status", "FAILURE", "--name", "msg.send"), "2"),
        ((*OLD, "--status", "QUEUED"), "4"),
        ((*OLD, "--status", "PLANNED"), "6"),
        (("--older-than", "15d"), "123456790"),
        (("--older-than", "50d"), ""),
    ],
    ids=" ".join,
)
def test_what_an_option_says_goes_and_a_dry_run_has_counted_the_same(
    database: str,
    purging: Callable[..., AbstractContextManager[Process]],
    words: tuple[str, ...],
    gone: str,
) -> None:
    insert_expired_tasks(database, 10)
    execute(database, VARIETY)
    with TaskStore(result_backend_url(database)) as store:
        before = {task.id[-1] for task in store.list()}
        with purging(*words, "--dry-run") as process:
            counted = last_line(process)
        unchanged = {task.id[-1] for task in store.list()}
        with purging(*words) as process:
            deleted = last_line(process)
        after = {task.id[-1] for task in store.list()}

    assert before == unchanged == {*"1234567890"}
    assert before - after == {*gone}
    assert counted == f"{len(gone)} tasks would be deleted"
    assert deleted == f"{len(gone)} tasks deleted"
    assert {id[-1] for ids in remaining_ids(database).values() for id in ids} == after


#: Notes how many rows of a table each transaction deletes.
AUDIT = """
CREATE TABLE audit (txid bigint, at timestamptz, of text, count int);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit SELECT txid_current(), clock_timestamp(), tg_table_name, count(*)
    FROM gone;
    RETURN NULL;
END $$;
"""

TRIGGER = """
CREATE TRIGGER audit AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
EXECUTE FUNCTION audit();
"""

AUDITED = """
SELECT jsonb_object_agg(of, count) FROM audit WHERE count > 0 GROUP BY txid
HAVING bool_or(of = 'workertoolbox_task')  -- A monitor deletes steps that have come.
"""

BETWEEN = """
SELECT count(*) FROM workertoolbox_task
WHERE id NOT LIKE 'old-%'
AND seen_at > (SELECT min(at) FROM audit) AND seen_at < (SELECT max(at) FROM audit)
"""


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_monitor_goes_on_beside_a_purge_and_loses_nothing(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    database = store.engine.url.render_as_string(hide_password=False)
    insert_expired_tasks(database, 30_000)
    execute(database, AUDIT)
    for table in TABLES:
        execute(database, TRIGGER.format(table=table))
    new: set[str] = set()
    again = (f"old-{number:05}" for number in range(1, 30_000, 7))
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        with run_tasks_command(broker.environment, tmp_path, "purge", *OLD) as purge:
            while purge.exit_code is None:
                new |= {app.send_task("export.echo", [n]).id for n in range(20)}
                app.send_task("export.echo", task_id=next(again), retries=2)
            first = last_line(purge)
        wait_until(lambda: new <= remaining_ids(database)["workertoolbox_task"])
        exit_code = process.stop()
        output = process.text
    with run_tasks_command(broker.environment, tmp_path, "purge", *OLD) as purge:
        second = last_line(purge)
    audited = [row for [row] in execute(database, AUDITED)]
    [[between]] = execute(database, BETWEEN)
    remaining = remaining_ids(database)

    assert exit_code == 0
    assert "away" not in output and "quarantine" not in output
    assert deadlock_count(database) == 0
    assert between > 0, "the monitor stored nothing while the purge was at it"
    # The first leaves what the monitor is writing at that moment.
    assert int(first.split()[0]) + int(second.split()[0]) == 30_000
    assert max(row["workertoolbox_task"] for row in audited) == BATCH_SIZE
    assert all(
        row["workertoolbox_task"]
        == row["celery_taskmeta"]
        <= row["workertoolbox_attempt"] / 2
        for row in audited
    )
    assert remaining["workertoolbox_attempt"] == remaining["workertoolbox_task"]
    assert remaining["workertoolbox_planned"] <= remaining["workertoolbox_task"]


#: How many statements with these words wait for a row that somebody else holds.
WAIT_FOR_A_ROW = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE :words
AND wait_event_type = 'Lock' AND wait_event <> 'advisory'
"""

SEEN_AGAIN = """
SELECT 1 FROM workertoolbox_attempt WHERE task_id = :id AND retries = 2
"""


def wait_until_blocked(database: str, words: str) -> None:
    wait_until(lambda: execute(database, WAIT_FOR_A_ROW, words=words) == [(1,)])


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_monitor_waits_for_no_more_than_the_transaction_that_has_its_task(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    database = store.engine.url.render_as_string(hide_password=False)
    insert_expired_tasks(database, 3 * BATCH_SIZE)
    before, held_up, after = (f"old-{n * BATCH_SIZE + 1:05}" for n in range(3))
    with (
        run_monitor(broker.environment, tmp_path),
        hold_deletion(database, transaction=2) as release,
        run_tasks_command(broker.environment, tmp_path, "purge", *OLD) as process,
    ):
        wait_until_deletion_is_held(database)
        new = {app.send_task("export.echo", [n]).id for n in range(100)}
        for id in (before, after):
            app.send_task("export.echo", task_id=id, retries=2)
            wait_until(lambda id=id: execute(database, SEEN_AGAIN, id=id))  # type: ignore[misc]
        wait_until(lambda: new <= remaining_ids(database)["workertoolbox_task"])
        app.send_task("export.echo", task_id=held_up, retries=2)
        wait_until_blocked(database, "WITH message%")
        release()
        wait_until(lambda: execute(database, SEEN_AGAIN, id=held_up))
        last = last_line(process)
    remaining = remaining_ids(database)

    assert last == f"{3 * BATCH_SIZE} tasks deleted"
    assert deadlock_count(database) == 0
    assert remaining["workertoolbox_task"] == new | {before, held_up}
    assert remaining["workertoolbox_attempt"] == new | {before, held_up}


def test_what_is_being_written_is_not_waited_for(
    database: str, purging: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 10)
    engine = create_engine(database)
    update = "UPDATE workertoolbox_task SET retries = 2 WHERE id = 'old-00003'"
    with engine.begin() as connection:
        connection.execute(text(update))
        with purging(*OLD) as process:
            first = last_line(process)
        kept = remaining_ids(database)
    with purging(*OLD) as process:
        second = last_line(process)
    engine.dispose()

    assert (first, second) == ("9 tasks deleted", "1 tasks deleted")
    assert kept == dict.fromkeys(TABLES, {"old-00003"})
    assert remaining_ids(database) == NOTHING


def test_a_purge_that_is_killed_leaves_nothing_half_deleted(
    database: str, purging: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 4 * BATCH_SIZE)
    with hold_deletion(database, transaction=3) as release, purging(*OLD) as process:
        wait_until_deletion_is_held(database)
        process.kill()
        release()
        wait_until(lambda: execute(database, OTHERS) == [(0,)])
    remaining = remaining_ids(database)
    with purging(*OLD) as process:
        last = last_line(process)

    assert remaining == dict.fromkeys(
        TABLES, {f"old-{n:05}" for n in range(2 * BATCH_SIZE + 1, 4 * BATCH_SIZE + 1)}
    )
    assert last == f"{2 * BATCH_SIZE} tasks deleted"
    assert remaining_ids(database) == NOTHING


OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def test_an_interrupted_purge_ends_its_transaction_and_tells_how_far_it_came(
    database: str, purging: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 4 * BATCH_SIZE)
    with hold_deletion(database, transaction=3) as release, purging(*OLD) as process:
        wait_until_deletion_is_held(database)
        process.popen.send_signal(signal.SIGINT)
        release()
        last = last_line(process, exit_code=1)
        output = process.text

    assert last == "Error: interrupted; run it again for the rest"
    assert f"{3 * BATCH_SIZE} tasks deleted\n" in output
    assert remaining_ids(database) == dict.fromkeys(
        TABLES, {f"old-{n:05}" for n in range(3 * BATCH_SIZE + 1, 4 * BATCH_SIZE + 1)}
    )


def test_two_purges_at_the_same_time_share_the_work(
    database: str, purging: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 6 * BATCH_SIZE)
    with (
        hold_deletion(database, transaction=1) as release,
        purging(*OLD) as first,
        purging(*OLD) as second,
    ):
        wait_until_deletion_is_held(database)
        # The other goes on meanwhile, past what the first one holds.
        done = wait_until(
            lambda: [one for one in (first, second) if one.exit_code == 0]
        )
        release()
        lines = [last_line(process) for process in (first, second)]

    assert len(done) == 1
    assert sorted(lines) == [
        f"{BATCH_SIZE} tasks deleted",
        f"{5 * BATCH_SIZE} tasks deleted",
    ]
    assert deadlock_count(database) == 0
    assert remaining_ids(database) == NOTHING


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (
            {"status": "SUCCESS"},
            "UPDATE celery_taskmeta SET status = 'FAILURE' WHERE task_id = 'old-00002'",
        ),
        (
            {},
            "UPDATE workertoolbox_task SET retries = 2, eta = now() + interval '1 day'"
            " WHERE id = 'old-00002'",
        ),
        (
            {"name": "export.echo"},
            "UPDATE workertoolbox_task SET name = 'other', replaced = 1"
            " WHERE id = 'old-00002'",
        ),
    ],
    ids=["status", "retry", "replaced"],
)
def test_a_task_that_changes_after_it_was_found_stays(
    database: str, options: dict[str, Any], change: str
) -> None:
    insert_expired_tasks(database, 3)
    assert purged_while(database, change, **options) == {"tasks": 2}
    assert remaining_ids(database) == dict.fromkeys(TABLES, {"old-00002"})


def test_a_result_that_comes_while_a_queued_task_is_deleted_stays(
    database: str,
) -> None:
    insert_expired_tasks(database, 3)
    execute(database, "DELETE FROM celery_taskmeta")
    comes = (
        "INSERT INTO celery_taskmeta (task_id, status, date_done)"
        " VALUES ('old-00002', 'STARTED', now())"
    )
    deleted = purged_while(
        database,
        comes,
        before_statement="DELETE FROM workertoolbox_task",
        status="QUEUED",
    )

    assert deleted == {"tasks": 3}
    assert remaining_ids(database) == {**NOTHING, "celery_taskmeta": {"old-00002"}}


def purged_while(
    database: str, change: str, *, before_statement: str = "FOR UPDATE", **options: Any
) -> Counter[str]:
    """Purge, and change something just before the first statement with these words."""
    engine = create_engine(database)
    changes = iter([change])

    @event.listens_for(engine, "before_cursor_execute")
    def interfere(_: Any, __: Any, statement: str, *___: Any) -> None:
        if before_statement in statement:
            for one in changes:
                execute(database, one)

    before = datetime.now(UTC) - timedelta(days=30)
    deleted = sum(purge_expired(engine, before=before, **options), Counter[str]())
    engine.dispose()
    assert next(changes, None) is None
    return deleted


def test_a_workflow_of_several_transactions_is_erased_with_what_comes_meanwhile(
    database: str, purging: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 3 * BATCH_SIZE)
    execute(database, UNRELATED)
    with (
        hold_deletion(database, transaction=2) as release,
        purging("--root-id", "old-00001") as process,
    ):
        wait_until_deletion_is_held(database)
        for statement in (LATE_MESSAGE, LATE_RESULT):
            execute(database, statement)
        release()
        last = last_line(process)

    assert last == f"{3 * BATCH_SIZE + 2} tasks deleted"
    assert remaining_ids(database) == {
        table: {"other"} if table == "workertoolbox_task" else set() for table in TABLES
    }

    execute(database, LATE_MESSAGE)

    assert remaining_ids(database)["workertoolbox_task"] == {"other", "late-task"}


MESSAGE = """
INSERT INTO workertoolbox_task (id, name, queue, root_id, replaced, retries,
    scheduled_at, ignore_result, seen_at)
VALUES ('{id}', 'export.echo', 'export', '{root}', 0, 0, now(), false, now())
"""
UNRELATED = MESSAGE.format(id="other", root="other")
LATE_MESSAGE = MESSAGE.format(id="late-task", root="old-00001")
LATE_RESULT = """
INSERT INTO celery_taskmeta (task_id, status, date_done, root_id)
VALUES ('late-result', 'SUCCESS', now(), 'old-00001')
"""


def test_an_erasure_waits_for_a_monitor_and_not_in_a_circle(
    database: str, purging: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 3)
    write = "UPDATE workertoolbox_task SET retries = 1 WHERE id = :id"
    # The first id is in the last place now.
    execute(database, write, id="old-00001")
    engine = create_engine(database)
    with engine.connect() as monitor:
        monitor.execute(text(write), {"id": "old-00001"})
        with purging("--root-id", "old-00001") as process:
            wait_until_blocked(database, "SELECT workertoolbox_task.id%FOR UPDATE")
            # A batch is written in the order of its ids.
            monitor.execute(text(write), {"id": "old-00003"})
            monitor.commit()
            last = last_line(process)
    engine.dispose()

    assert last == "3 tasks deleted"
    assert deadlock_count(database) == 0
    assert remaining_ids(database) == NOTHING


def test_the_oldest_are_found_by_an_index_and_each_is_looked_at_once(
    database: str,
) -> None:
    insert_expired_tasks(database, 20 * BATCH_SIZE)
    execute(database, "DELETE FROM workertoolbox_task WHERE id > 'old-10000'")
    engine = create_engine(database)
    plans: dict[str, list[str]] = {}

    @event.listens_for(engine, "before_cursor_execute")
    def explain(_: Any, cursor: Any, statement: str, values: Any, *__: Any) -> None:
        if "LIMIT" in statement:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING off) {statement}", values)
            plan = "\n".join(line for [line] in cursor.fetchall())
            plans.setdefault(statement.split(".")[0].split()[-1], []).append(plan)

    deleted = sum(purge_expired(engine, before=datetime.now(UTC)), Counter[str]())
    engine.dispose()

    assert deleted == {"tasks": 20 * BATCH_SIZE}
    for table, index, windows in (
        ("workertoolbox_task", "ix_workertoolbox_task_scheduled_at", 11),
        ("celery_taskmeta", "ix_celery_taskmeta_date_done", 11),
    ):
        assert len(plans[table]) == windows
        for plan in plans[table]:
            [scan] = re.findall(rf"Scan using {index} .*actual rows=(\d+)", plan)
            # Beside those of a window, the last of the one before.
            assert int(scan) <= BATCH_SIZE + 2, plan


def test_cleaning_up_leaves_what_is_being_written(database: str) -> None:
    insert_expired_tasks(database, 3)
    impatient = f"{database}?options=-c%20lock_timeout%3D1000"
    app = Celery(
        "cleaning", backend=result_backend_url(impatient), set_as_current=False
    )
    backend: Any = app.backend
    backend.expires = timedelta(days=30)
    engine = create_engine(database)
    with engine.begin() as worker, closing(backend.database):
        worker.execute(
            text("UPDATE celery_taskmeta SET retries = 1 WHERE task_id = 'old-00002'")
        )
        backend.cleanup()
        kept = remaining_ids(database)["celery_taskmeta"]
        worker.rollback()
        backend.cleanup()
    engine.dispose()

    assert kept == {"old-00002"}
    assert remaining_ids(database)["celery_taskmeta"] == set()
