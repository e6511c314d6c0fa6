"""`tasks purge` beside monitors, workers and other purges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import create_engine, event, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._history.purge import BATCH_SIZE, find_older, purge
from support.brokers import Broker
from support.expired_tasks import (
    TABLES,
    deadlock_count,
    hold_deletion,
    insert_expired_tasks,
    remaining_ids,
    wait_until_deletion_is_held,
)
from support.polling import wait_until
from support.processes import Process
from support.purges import NOTHING, OLDER_THAN_30_DAYS, last_line, wait_until_blocked
from support.statements import fetch
from support.task_commands import run_monitor, run_tasks_command

#: Records the number of rows that each transaction deletes from a table.
AUDIT = """
CREATE TABLE audit (txid bigint, at timestamptz, of text, count int);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit SELECT txid_current(), clock_timestamp(), tg_table_name, count(*)
    FROM gone;
    RETURN NULL;
END $$;
"""

#: Calls the function for each statement that deletes from a table.
AUDIT_TRIGGER = """
CREATE TRIGGER audit AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
EXECUTE FUNCTION audit();
"""

#: Returns the deleted rows of each table, for each transaction of a purge.
DELETED_ROWS = """
SELECT jsonb_object_agg(of, count) FROM audit WHERE count > 0 GROUP BY txid
HAVING bool_or(of = 'workertoolbox_task')  -- A monitor deletes planned steps too.
"""

#: Counts the new tasks that a monitor stored during a purge.
STORED_DURING_PURGE = """
SELECT count(*) FROM workertoolbox_task
WHERE id NOT LIKE 'old-%'
AND seen_at > (SELECT min(at) FROM audit) AND seen_at < (SELECT max(at) FROM audit)
"""


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_monitor_keeps_writing_during_a_purge_and_loses_nothing(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    database = store.engine.url.render_as_string(hide_password=False)
    insert_expired_tasks(database, 30_000, status="PROGRESS")
    fetch(database, AUDIT)
    for table in TABLES:
        fetch(database, AUDIT_TRIGGER.format(table=table))
    new: set[str] = set()
    again = (f"old-{number:05}" for number in range(1, 30_000, 7))
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        with run_tasks_command(
            broker.environment, tmp_path, "purge", *OLDER_THAN_30_DAYS
        ) as purge:
            while purge.exit_code is None:
                new |= {app.send_task("export.echo", [n]).id for n in range(20)}
                app.send_task("export.echo", task_id=next(again), retries=2)
            first = last_line(purge)
        wait_until(lambda: new <= remaining_ids(database)["workertoolbox_task"])
        exit_code = process.stop()
        output = process.text
    with run_tasks_command(
        broker.environment, tmp_path, "purge", *OLDER_THAN_30_DAYS
    ) as purge:
        second = last_line(purge)
    deleted = [row for [row] in fetch(database, DELETED_ROWS)]
    [[stored_meanwhile]] = fetch(database, STORED_DURING_PURGE)
    remaining = remaining_ids(database)

    assert exit_code == 0
    assert "unavailable" not in output and "quarantine" not in output
    assert deadlock_count(database) == 0
    assert stored_meanwhile > 0, "the monitor stored nothing during the purge"
    # The first purge skips the tasks that the monitor is writing at that moment.
    assert int(first.split()[0]) + int(second.split()[0]) == 30_000
    assert max(row["workertoolbox_task"] for row in deleted) == BATCH_SIZE
    assert all(
        row["workertoolbox_task"]
        == row["celery_taskmeta"]
        <= row["workertoolbox_attempt"] / 2
        for row in deleted
    )
    assert remaining["workertoolbox_attempt"] == remaining["workertoolbox_task"]
    assert remaining["workertoolbox_planned"] <= remaining["workertoolbox_task"]


#: Returns a row once the second retry of a task is stored.
RETRY_STORED = """
SELECT 1 FROM workertoolbox_attempt WHERE task_id = :id AND retries = 2
"""


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_monitor_waits_only_for_the_transaction_that_deletes_its_task(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    database = store.engine.url.render_as_string(hide_password=False)
    insert_expired_tasks(database, 3 * BATCH_SIZE, status="PROGRESS")
    before, held_up, after = (f"old-{n * BATCH_SIZE + 1:05}" for n in range(3))
    with (
        run_monitor(broker.environment, tmp_path),
        hold_deletion(database, transaction=2) as release,
        run_tasks_command(
            broker.environment, tmp_path, "purge", *OLDER_THAN_30_DAYS
        ) as process,
    ):
        wait_until_deletion_is_held(database)
        new = {app.send_task("export.echo", [n]).id for n in range(100)}
        for id in (before, after):
            app.send_task("export.echo", task_id=id, retries=2)
            wait_until(lambda id=id: fetch(database, RETRY_STORED, id=id))  # type: ignore[misc]
        wait_until(lambda: new <= remaining_ids(database)["workertoolbox_task"])
        app.send_task("export.echo", task_id=held_up, retries=2)
        wait_until_blocked(database, "WITH message%")
        release()
        wait_until(lambda: fetch(database, RETRY_STORED, id=held_up))
        last = last_line(process)
    remaining = remaining_ids(database)

    assert last == f"{3 * BATCH_SIZE} tasks deleted"
    assert deadlock_count(database) == 0
    assert remaining["workertoolbox_task"] == new | {before, held_up}
    assert remaining["workertoolbox_attempt"] == new | {before, held_up}


def test_a_purge_skips_a_task_that_is_being_written(
    database: str, run_purge: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 10)
    engine = create_engine(database)
    update = "UPDATE workertoolbox_task SET retries = 2 WHERE id = 'old-00003'"
    with engine.begin() as connection:
        connection.execute(text(update))
        with run_purge(*OLDER_THAN_30_DAYS) as process:
            first = last_line(process)
        kept = remaining_ids(database)
    with run_purge(*OLDER_THAN_30_DAYS) as process:
        second = last_line(process)
    engine.dispose()

    assert (first, second) == ("9 tasks deleted", "1 task deleted")
    assert kept == dict.fromkeys(TABLES, {"old-00003"})
    assert remaining_ids(database) == NOTHING


def test_two_concurrent_purges_share_the_work(
    database: str, run_purge: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 6 * BATCH_SIZE)
    with (
        hold_deletion(database, transaction=1) as release,
        run_purge(*OLDER_THAN_30_DAYS) as first,
        run_purge(*OLDER_THAN_30_DAYS) as second,
    ):
        wait_until_deletion_is_held(database)
        # The other purge skips the rows that the first one holds.
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
def test_a_task_that_changes_after_it_was_selected_is_kept(
    database: str, options: dict[str, Any], change: str
) -> None:
    insert_expired_tasks(database, 3)
    assert purge_with_change(database, change, **options) == {"tasks": 2}
    assert remaining_ids(database) == dict.fromkeys(TABLES, {"old-00002"})


def test_a_result_stored_while_its_queued_task_is_deleted_is_kept(
    database: str,
) -> None:
    insert_expired_tasks(database, 3)
    fetch(database, "UPDATE celery_taskmeta SET archived_at = now()")
    fetch(database, "DELETE FROM celery_taskmeta")
    new_result = (
        "INSERT INTO celery_taskmeta (task_id, status, date_done)"
        " VALUES ('old-00002', 'STARTED', now())"
    )
    deleted = purge_with_change(
        database,
        new_result,
        before_statement="DELETE FROM workertoolbox_task",
        status="QUEUED",
    )

    assert deleted == {"tasks": 3}
    assert remaining_ids(database) == {
        **NOTHING,
        "celery_taskmeta": {"old-00002"},
    }


def purge_with_change(
    database: str,
    change: str,
    *,
    before_statement: str = "FOR UPDATE",
    **options: Any,
) -> Counter[str]:
    """Purge, and execute `change` before the first statement that contains a text."""
    engine = create_engine(database)
    changes = iter([change])

    @event.listens_for(engine, "before_cursor_execute")
    def execute_change(_: Any, __: Any, statement: str, *___: Any) -> None:
        if before_statement in statement:
            for one in changes:
                fetch(database, one)

    before = datetime.now(UTC) - timedelta(days=30)
    steps = purge(engine, find_older(engine, before, **options))
    deleted = sum(steps, Counter[str]())
    engine.dispose()
    assert next(changes, None) is None
    return deleted
