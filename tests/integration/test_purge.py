"""`tasks purge` deletes old tasks from PostgreSQL."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._history.purge import BATCH_SIZE, find_older, purge
from support.brokers import result_backend_url
from support.expired_tasks import (
    TABLES,
    hold_deletion,
    insert_expired_tasks,
    remaining_ids,
    wait_until_deletion_is_held,
)
from support.polling import wait_until
from support.processes import Process
from support.purges import NOTHING, OLDER_THAN_30_DAYS, last_line
from support.result_backends import app_with_backend
from support.statements import fetch
from support.task_commands import call_tasks_command

#: Gives some of ten old tasks another status, name or time, or removes their rows.
VARIED_TASKS = """
UPDATE celery_taskmeta SET status = 'FAILURE'
WHERE task_id IN ('old-00001', 'old-00002');
UPDATE workertoolbox_task SET name = 'msg.send' WHERE id IN ('old-00002', 'old-00003');
UPDATE celery_taskmeta SET archived_at = now()
WHERE task_id IN ('old-00004', 'old-00006');
DELETE FROM celery_taskmeta WHERE archived_at IS NOT NULL;
DELETE FROM workertoolbox_task WHERE id IN ('old-00005', 'old-00006');
DELETE FROM workertoolbox_attempt WHERE task_id IN ('old-00005', 'old-00006');
UPDATE workertoolbox_task SET eta = now() - interval '20 days' WHERE id = 'old-00007';
UPDATE workertoolbox_task SET scheduled_at = now() WHERE id = 'old-00008';
"""


@pytest.mark.parametrize(
    ("words", "deleted_ids"),
    [
        (OLDER_THAN_30_DAYS, "12345690"),
        ((*OLDER_THAN_30_DAYS, "--status", "FAILURE"), "12"),
        ((*OLDER_THAN_30_DAYS, "--name", "msg.send"), "23"),
        ((*OLDER_THAN_30_DAYS, "--status", "FAILURE", "--name", "msg.send"), "2"),
        ((*OLDER_THAN_30_DAYS, "--status", "QUEUED"), "4"),
        ((*OLDER_THAN_30_DAYS, "--status", "PLANNED"), "6"),
        (("--older-than", "15d"), "123456790"),
        (("--older-than", "50d"), ""),
    ],
    ids=" ".join,
)
def test_options_select_the_tasks_and_a_dry_run_counts_the_same(
    database: str, words: tuple[str, ...], deleted_ids: str
) -> None:
    insert_expired_tasks(database, 10)
    fetch(database, VARIED_TASKS)
    app = app_with_backend(result_backend_url(database))
    with app, TaskStore.for_app(app) as store:
        before = {task.id[-1] for task in store.list()}
        counted = call_tasks_command(app, "purge", *words, "--dry-run")
        unchanged = {task.id[-1] for task in store.list()}
        deleted = call_tasks_command(app, "purge", *words)
        after = {task.id[-1] for task in store.list()}

    assert before == unchanged == {*"1234567890"}
    assert before - after == {*deleted_ids}
    count = len(deleted_ids)
    number = "1 task" if count == 1 else f"{count} tasks"
    assert counted == f"{number} would be deleted\n"
    assert deleted == f"{number} deleted\n"
    assert {id[-1] for ids in remaining_ids(database).values() for id in ids} == after


def test_a_killed_purge_leaves_no_task_half_deleted(
    database: str, run_purge: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 4 * BATCH_SIZE)
    with (
        hold_deletion(database, transaction=3) as release,
        run_purge(*OLDER_THAN_30_DAYS) as process,
    ):
        wait_until_deletion_is_held(database)
        process.kill()
        release()
        wait_until(lambda: fetch(database, OTHER_CONNECTIONS) == [(0,)])
    remaining = remaining_ids(database)
    with run_purge(*OLDER_THAN_30_DAYS) as process:
        last = last_line(process)

    assert remaining == dict.fromkeys(
        TABLES, {f"old-{n:05}" for n in range(2 * BATCH_SIZE + 1, 4 * BATCH_SIZE + 1)}
    )
    assert last == f"{2 * BATCH_SIZE} tasks deleted"
    assert remaining_ids(database) == NOTHING


#: Counts the other connections to the database.
OTHER_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def test_an_interrupted_purge_commits_its_transaction_and_reports_its_count(
    database: str, run_purge: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 4 * BATCH_SIZE)
    with (
        hold_deletion(database, transaction=3) as release,
        run_purge(*OLDER_THAN_30_DAYS) as process,
    ):
        wait_until_deletion_is_held(database)
        process.popen.send_signal(signal.SIGINT)
        release()
        last = last_line(process, exit_code=1)
        output = process.text

    assert last == "Error: interrupted; run it again to delete the rest"
    assert f"{3 * BATCH_SIZE} tasks deleted\n" in output
    assert remaining_ids(database) == dict.fromkeys(
        TABLES, {f"old-{n:05}" for n in range(3 * BATCH_SIZE + 1, 4 * BATCH_SIZE + 1)}
    )


def test_the_oldest_tasks_are_found_by_an_index_and_each_is_read_once(
    database: str,
) -> None:
    insert_expired_tasks(database, 20 * BATCH_SIZE)
    fetch(database, "DELETE FROM workertoolbox_task WHERE id > 'old-10000'")
    engine = create_engine(database)
    plans: dict[str, list[str]] = {}

    @event.listens_for(engine, "before_cursor_execute")
    def explain(_: Any, cursor: Any, statement: str, values: Any, *__: Any) -> None:
        # There are no archived results.
        if "LIMIT" in statement and "archived_at IS NOT NULL" not in statement:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING off) {statement}", values)
            plan = "\n".join(line for [line] in cursor.fetchall())
            plans.setdefault(statement.split(".")[0].split()[-1], []).append(plan)

    expired = find_older(engine, datetime.now(UTC))
    deleted = sum(purge(engine, expired), Counter[str]())
    engine.dispose()

    assert deleted["tasks"] == 20 * BATCH_SIZE
    for table, index, windows in (
        ("workertoolbox_task", "ix_workertoolbox_task_scheduled_at", 11),
        ("celery_taskmeta", "ix_celery_taskmeta_date_done", 11),
    ):
        assert len(plans[table]) == windows
        for plan in plans[table]:
            [scan] = re.findall(rf"Scan using {index} .*actual rows=(\d+)", plan)
            # The rows of a window, and the last one of the window before.
            assert int(scan) <= BATCH_SIZE + 2, plan
