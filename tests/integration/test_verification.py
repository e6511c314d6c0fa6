"""The verification of a fleet under faults reports each broken promise.

The journal and the database belong to a small fleet that kept every promise. Each test
breaks one of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._database.engine import open_engine
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from faults.journal import Entry, Journal
from faults.verification import ResultDatabase, Summary, verify

#: The messages of a task that was retried once, and of one that was not.
MESSAGES = (
    Entry("retried", 0, 0, "export"),
    Entry("retried", 0, 1, "export"),
    Entry("plain", 0, 0, "msg"),
)

#: A message of neither task.
FOREIGN = Entry("foreign", 0, 0, "msg")

#: When the first message was published.
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

#: The number of messages left in each queue.
NOTHING_LEFT = {"export": 0, "msg": 0, "platform.fifo": 0}

#: Adds an attempt to one task.
SECOND_RETRY = """
INSERT INTO workertoolbox_attempt
    (task_id, replaced, retries, name, queue, scheduled_at, seen_at)
SELECT task_id, replaced, 2, name, queue, scheduled_at, seen_at
FROM workertoolbox_attempt WHERE retries = 1
"""

#: Statements that break the database, and the error that the verification reports.
BROKEN_DATABASES = {
    "a task without any row": (
        [
            "DELETE FROM workertoolbox_task WHERE id = 'plain'",
            # Otherwise a trigger keeps it for the archiver.
            "UPDATE celery_taskmeta SET archived_at = CURRENT_TIMESTAMP",
            "DELETE FROM celery_taskmeta WHERE task_id = 'plain'",
        ],
        "published tasks without a row: 1, such as ['plain']",
    ),
    "a task with two rows": (
        [
            "CREATE TABLE once AS SELECT * FROM workertoolbox_tasks",
            "DROP VIEW workertoolbox_tasks",
            "CREATE VIEW workertoolbox_tasks AS SELECT * FROM once"
            " UNION ALL SELECT * FROM once WHERE id = 'plain'",
        ],
        "tasks with more than one row: 1, such as ['plain']",
    ),
    "a task that was not published": (
        ["UPDATE workertoolbox_task SET id = 'foreign' WHERE id = 'plain'"],
        "tasks with a row that were not published: 1, such as ['foreign']",
    ),
    "a result that was not stored": (
        [
            # Otherwise a trigger keeps it for the archiver.
            "UPDATE celery_taskmeta SET archived_at = CURRENT_TIMESTAMP",
            "DELETE FROM celery_taskmeta WHERE task_id = 'plain'",
        ],
        "tasks that did not succeed: 1, such as ['plain']",
    ),
    "a status that is not final": (
        ["UPDATE celery_taskmeta SET status = 'RETRY' WHERE task_id = 'retried'"],
        "tasks that did not succeed: 1, such as ['retried']",
    ),
    "an attempt that was not tracked": (
        ["DELETE FROM workertoolbox_attempt WHERE retries = 1"],
        "published messages without an attempt: 1",
    ),
    "an additional attempt": (
        [SECOND_RETRY],
        "attempts that were not published: 1",
    ),
    "an attempt in another queue": (
        ["UPDATE workertoolbox_attempt SET queue = 'celery' WHERE retries = 1"],
        "published messages without an attempt: 1",
    ),
    "a result without a task": (
        ["DELETE FROM workertoolbox_task WHERE id = 'plain'"],
        "half-written rows: 1, such as ['plain']",
    ),
    "no worker": (
        ["UPDATE celery_taskmeta SET worker = NULL WHERE task_id = 'plain'"],
        "half-written rows: 1, such as ['plain']",
    ),
    "no start": (
        ["UPDATE celery_taskmeta SET started_at = NULL WHERE task_id = 'plain'"],
        "half-written rows: 1, such as ['plain']",
    ),
    "no end": (
        ["UPDATE celery_taskmeta SET date_done = NULL WHERE task_id = 'plain'"],
        "half-written rows: 1, such as ['plain']",
    ),
    "no result": (
        ["UPDATE celery_taskmeta SET result = NULL WHERE task_id = 'plain'"],
        "half-written rows: 1, such as ['plain']",
    ),
    "no root": (
        [
            "UPDATE workertoolbox_task SET root_id = NULL WHERE id = 'plain'",
            "UPDATE celery_taskmeta SET root_id = NULL WHERE task_id = 'plain'",
        ],
        "half-written rows: 1, such as ['plain']",
    ),
    "no arguments": (
        [
            "UPDATE workertoolbox_task SET args = NULL WHERE id = 'plain'",
            "UPDATE celery_taskmeta SET args = NULL WHERE task_id = 'plain'",
        ],
        "half-written rows: 1, such as ['plain']",
    ),
    "no keyword arguments": (
        [
            "UPDATE workertoolbox_task SET kwargs = NULL WHERE id = 'plain'",
            "UPDATE celery_taskmeta SET kwargs = NULL WHERE task_id = 'plain'",
        ],
        "half-written rows: 1, such as ['plain']",
    ),
    "a traceback of a successful task": (
        ["UPDATE celery_taskmeta SET traceback = 'x' WHERE task_id = 'plain'"],
        "half-written rows: 1, such as ['plain']",
    ),
    "an end before the start": (
        [
            "UPDATE celery_taskmeta SET date_done = '2025-01-01 00:00:00.000000'"
            " WHERE task_id = 'plain'"
        ],
        "half-written rows: 1, such as ['plain']",
    ),
    "a message in quarantine": (
        [
            "INSERT INTO workertoolbox_quarantine (digest, reason, body, headers,"
            " seen_at) VALUES ('0', 'cut', '{', '{}', '2026-01-02 03:04:05')"
        ],
        "workertoolbox_quarantine is not empty",
    ),
    "a chord that was not deleted": (
        [
            "INSERT INTO workertoolbox_chord_part VALUES"
            " ('chord', 'plain', 0, 'SUCCESS', '1')"
        ],
        "workertoolbox_chord_part is not empty",
    ),
}

#: Events and the message written to the journal, and the error that is reported.
BROKEN_JOURNALS = {
    "a run that was not published": (
        ["delivered", "executed"],
        FOREIGN,
        "runs of messages that were not published: 1",
    ),
    "a run in another queue": (
        ["delivered", "executed"],
        Entry("plain", 0, 0, "export"),
        "runs of messages that were not published: 1",
    ),
    "a run that was not delivered": (
        ["executed"],
        MESSAGES[2],
        "messages that ran more often than they were delivered: 1",
    ),
    "a message that was not tracked": (
        ["attempted", "published"],
        Entry("plain", 1, 0, "msg"),
        "published messages without an attempt: 1",
    ),
    "a task that was not tracked": (
        ["attempted", "published", "delivered", "executed"],
        FOREIGN,
        "published tasks without a row: 1, such as ['foreign']",
    ),
}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal of the fleet."""
    folder = tmp_path / "journal"
    folder.mkdir()
    journal = Journal(folder)
    for message in MESSAGES:
        for event in ("attempted", "published", "delivered", "executed"):
            journal.write(event, message)
        journal.announce(message.id)
    return journal


@pytest.fixture
def result_database(result_backend: str) -> ResultDatabase:
    """The database of the fleet."""
    result_database = ResultDatabase(result_backend.removeprefix("workertoolbox+"))
    engine = create_engine(result_database.url)
    with engine.begin() as connection:
        for message in MESSAGES:
            connection.execute(tables.attempt.insert().values(_attempt(message)))
        for message in MESSAGES[1:]:
            connection.execute(tables.task.insert().values(_task(message)))
            connection.execute(tables.taskmeta.insert().values(_result(message)))
    engine.dispose()
    return result_database


def _attempt(message: Entry) -> dict[str, object]:
    return {
        "task_id": message.id,
        "replaced": message.replaced,
        "retries": message.retries,
        "name": f"{message.queue}.count",
        "queue": message.queue,
        "scheduled_at": AT,
        "seen_at": AT,
    }


def _task(message: Entry) -> dict[str, object]:
    attempt = _attempt(message)
    id = attempt.pop("task_id")
    return {
        **attempt,
        "id": id,
        "args": [],
        "kwargs": {},
        "root_id": message.id,
        "ignore_result": False,
    }


def _result(message: Entry) -> dict[str, object]:
    return {
        "task_id": message.id,
        "status": "SUCCESS",
        "result": b"1",
        "name": f"{message.queue}.count",
        "args": b"[]",
        "kwargs": b"{}",
        "queue": message.queue,
        "retries": message.retries,
        "root_id": message.id,
        "date_done": (AT + timedelta(seconds=2)).replace(tzinfo=None),
        "started_at": AT + timedelta(seconds=1),
        "worker": "worker@host",
    }


def execute(result_database: ResultDatabase, *statements: str) -> None:
    """Execute statements in the database of the fleet."""
    engine = create_engine(result_database.url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_fleet_that_keeps_every_promise_is_summarized(
    journal: Journal, result_database: ResultDatabase
) -> None:
    for event in ("delivered", "executed"):
        journal.write(event, MESSAGES[0])

    assert verify(journal, result_database, NOTHING_LEFT) == Summary(
        tasks=2, attempts=3, repeated_runs=1
    )


def test_a_fleet_whose_tasks_are_archived_is_summarized(
    journal: Journal, result_database: ResultDatabase
) -> None:
    engine = open_engine(make_url(result_database.url))
    with engine.begin() as connection:
        archived = archive_batch(connection, ArchiveOptions())
    engine.dispose()

    assert archived == 2
    assert verify(journal, result_database, NOTHING_LEFT) == Summary(
        tasks=2, attempts=3, repeated_runs=0
    )


@pytest.mark.parametrize("name", BROKEN_DATABASES)
def test_a_promise_broken_in_the_database_is_reported(
    journal: Journal, result_database: ResultDatabase, name: str
) -> None:
    statements, message = BROKEN_DATABASES[name]
    execute(result_database, *statements)

    with pytest.raises(AssertionError) as raised:
        verify(journal, result_database, NOTHING_LEFT)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("name", BROKEN_JOURNALS)
def test_a_promise_broken_in_the_journal_is_reported(
    journal: Journal, result_database: ResultDatabase, name: str
) -> None:
    chosen, message, said = BROKEN_JOURNALS[name]
    for event in chosen:
        journal.write(event, message)

    with pytest.raises(AssertionError) as raised:
        verify(journal, result_database, NOTHING_LEFT)
    assert str(raised.value).startswith(said)


def test_a_message_that_never_ran_is_reported(
    journal: Journal, result_database: ResultDatabase
) -> None:
    execute(result_database, SECOND_RETRY)
    for event in ("attempted", "published", "delivered"):
        journal.write(event, Entry("retried", 0, 2, "export"))

    with pytest.raises(AssertionError, match="published messages that never ran: 1"):
        verify(journal, result_database, NOTHING_LEFT)


def test_a_message_left_in_a_queue_is_reported(
    journal: Journal, result_database: ResultDatabase
) -> None:
    with pytest.raises(AssertionError, match="messages are left: {'msg': 1}"):
        verify(journal, result_database, NOTHING_LEFT | {"msg": 1})
