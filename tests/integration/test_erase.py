"""`tasks purge --root-id` erases a workflow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from sqlalchemy import create_engine, text

from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.erase import erase_workflow
from cadasta.workertoolbox.results._history.purge import BATCH_SIZE
from support.archived_tasks import archived_ids
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
from support.purges import NOTHING, last_line, wait_until_blocked
from support.statements import fetch


def test_a_workflow_is_erased_with_rows_that_arrive_meanwhile(
    database: str, run_purge: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 3 * BATCH_SIZE)
    fetch(database, UNRELATED_TASK)
    with (
        hold_deletion(database, transaction=2) as release,
        run_purge("--root-id", "old-00001") as process,
    ):
        wait_until_deletion_is_held(database)
        for statement in (LATE_MESSAGE, LATE_RESULT):
            fetch(database, statement)
        release()
        last = last_line(process)

    assert last == f"{3 * BATCH_SIZE + 2} tasks deleted"
    assert remaining_ids(database) == {
        table: {"other"} if table == "workertoolbox_task" else set() for table in TABLES
    }

    fetch(database, LATE_MESSAGE)

    assert remaining_ids(database)["workertoolbox_task"] == {"other", "late-task"}


MESSAGE = """
INSERT INTO workertoolbox_task (id, name, queue, root_id, replaced, retries,
    scheduled_at, ignore_result, seen_at)
VALUES ('{id}', 'export.echo', 'export', '{root}', 0, 0, now(), false, now())
"""

UNRELATED_TASK = MESSAGE.format(id="other", root="other")


LATE_MESSAGE = MESSAGE.format(id="late-task", root="old-00001")

LATE_RESULT = """
INSERT INTO celery_taskmeta (task_id, status, date_done, root_id)
VALUES ('late-result', 'SUCCESS', now(), 'old-00001')
"""


def test_an_erasure_waits_for_a_monitor_without_a_deadlock(
    database: str, run_purge: Callable[..., AbstractContextManager[Process]]
) -> None:
    insert_expired_tasks(database, 3)
    write = "UPDATE workertoolbox_task SET retries = 1 WHERE id = :id"
    # The update moves the first id to the end of the table.
    fetch(database, write, id="old-00001")
    engine = create_engine(database)
    with engine.connect() as monitor:
        monitor.execute(text(write), {"id": "old-00001"})
        with run_purge("--root-id", "old-00001") as process:
            wait_until_blocked(database, "SELECT workertoolbox_task.id%FOR UPDATE")
            # A monitor writes a batch in the order of the ids.
            monitor.execute(text(write), {"id": "old-00003"})
            monitor.commit()
            last = last_line(process)
    engine.dispose()

    assert last == "3 tasks deleted"
    assert deadlock_count(database) == 0
    assert remaining_ids(database) == NOTHING


def test_a_workflow_is_erased_while_it_is_archived(database: str) -> None:
    insert_expired_tasks(database, 3 * BATCH_SIZE)
    engine = create_engine(database)
    options = ArchiveOptions(delay_s=0, batch_size=100)

    def archive() -> None:
        archived = 1
        while archived:
            with engine.begin() as connection:
                archived = archive_batch(connection, options)

    with ThreadPoolExecutor(1) as thread:
        archiving = thread.submit(archive)
        wait_until(lambda: archived_ids(database))
        for _ in erase_workflow(engine, "old-00001"):
            pass
        left = archived_ids(database)
        archiving.result()
    engine.dispose()

    assert left == archived_ids(database) == set()
    assert deadlock_count(database) == 0
    assert remaining_ids(database) == NOTHING
