"""Tasks in PostgreSQL that are old enough to purge, and a lock that delays a purge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import NullPool, create_engine, text

from support.polling import wait_until
from support.statements import fetch

#: The ids are `old-00001`, `old-00002` and so on. The first task is the oldest.
TASK = """
INSERT INTO workertoolbox_task (id, name, queue, root_id, replaced, retries,
    scheduled_at, ignore_result, seen_at)
SELECT 'old-' || to_char(n, 'FM00000'), 'export.echo', 'export', 'old-00001', 0, 1,
    now() - interval '40 days' + n * interval '1 second', false, now()
FROM generate_series(1, :count) n
"""

ATTEMPT = """
INSERT INTO workertoolbox_attempt (task_id, replaced, retries, name, queue,
    scheduled_at, seen_at)
SELECT id, 0, retry, name, queue, scheduled_at, seen_at
FROM workertoolbox_task, generate_series(0, 1) retry
"""

PLANNED = """
INSERT INTO workertoolbox_planned (id, name, root_id, seen_at)
SELECT id, name, root_id, scheduled_at FROM workertoolbox_task
"""

RESULT = """
INSERT INTO celery_taskmeta (task_id, status, result, date_done, name, root_id)
SELECT id, :status, '42', scheduled_at AT TIME ZONE 'UTC', name, root_id
FROM workertoolbox_task
"""

#: The column with the task id in each table.
TABLES = {
    "workertoolbox_task": "id",
    "workertoolbox_attempt": "task_id",
    "workertoolbox_planned": "id",
    "celery_taskmeta": "task_id",
}

#: Makes one transaction wait for a lock when it deletes results, which is its last
#: statement. A sequence counts the transactions, because a rollback does not reset it.
#: An archiver deletes nothing, but executes such statements too.
HOLD = """
CREATE SEQUENCE deletions;
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone) AND nextval('deletions') = {number} THEN
        PERFORM pg_advisory_xact_lock(1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold AFTER DELETE ON celery_taskmeta REFERENCING OLD TABLE AS gone
EXECUTE FUNCTION hold();
"""

WAITING = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def insert_expired_tasks(database: str, count: int, *, status: str = "SUCCESS") -> None:
    """Insert live tasks of one workflow: each was planned, and retried once.

    Args:
        status: The status of their results. Archivers leave unended tasks alone.
    """
    fetch(database, TASK, count=count)
    fetch(database, ATTEMPT)
    fetch(database, PLANNED)
    fetch(database, RESULT, status=status)
    fetch(database, "ANALYZE")


def remaining_ids(database: str) -> dict[str, set[str]]:
    """Return the ids of the tasks in each table."""
    return {
        table: {id for [id] in fetch(database, f"SELECT {column} FROM {table}")}
        for table, column in TABLES.items()
    }


def deadlock_count(database: str) -> int:
    """Return how many deadlocks PostgreSQL has detected in the database."""
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    [[count]] = fetch(database, query)
    return int(count)


@contextmanager
def hold_deletion(database: str, *, transaction: int) -> Iterator[Callable[[], None]]:
    """Block the nth transaction that deletes results.

    Yields:
        A function that releases the transaction; so does the end of the block.
    """
    fetch(database, HOLD.format(number=transaction))
    engine = create_engine(database, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(1)"))
        yield connection.close


def wait_until_deletion_is_held(database: str) -> None:
    """Wait until the transaction is blocked."""
    wait_until(lambda: fetch(database, WAITING) == [(1,)])
