"""A database with old tasks in every table, and deletions that are held up there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from support.polling import wait_until

#: Ids of old tasks are `old-00001` and so on: the first is the oldest.
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
SELECT id, 'SUCCESS', '42', scheduled_at AT TIME ZONE 'UTC', name, root_id
FROM workertoolbox_task
"""

#: Where an id of a task stands.
TABLES = {
    "workertoolbox_task": "id",
    "workertoolbox_attempt": "task_id",
    "workertoolbox_planned": "id",
    "celery_taskmeta": "task_id",
}

#: Has the transaction of a number wait when it deletes results, which it does last.
#: No rollback reaches a sequence.
HOLD = """
CREATE SEQUENCE deletions;
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('deletions') = {number} THEN
        PERFORM pg_advisory_xact_lock(1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold AFTER DELETE ON celery_taskmeta EXECUTE FUNCTION hold();
"""

WAITING = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def execute(database: str, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Execute SQL, and return the rows that it gives."""
    engine = create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def insert_expired_tasks(database: str, count: int) -> None:
    """Store so many tasks of one workflow: each retried, planned, and successful."""
    for statement in (TASK, ATTEMPT, PLANNED, RESULT):
        execute(database, statement, **({"count": count} if ":" in statement else {}))
    execute(database, "ANALYZE")


def remaining_ids(database: str) -> dict[str, set[str]]:
    """Return the ids of tasks that each table has; all have the same, if any."""
    return {
        table: {id for [id] in execute(database, f"SELECT {column} FROM {table}")}
        for table, column in TABLES.items()
    }


def deadlock_count(database: str) -> int:
    """Return how many transactions were ended because they waited in a circle."""
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    [[count]] = execute(database, query)
    return int(count)


@contextmanager
def hold_deletion(database: str, *, transaction: int) -> Iterator[Callable[[], None]]:
    """Hold up the transaction of this number that deletes results.

    Yields:
        What has it go on; the end of the block does too.
    """
    execute(database, HOLD.format(number=transaction))
    engine = create_engine(database, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(1)"))
        yield connection.close


def wait_until_deletion_is_held(database: str) -> None:
    """Wait until there is a transaction that is held up."""
    wait_until(lambda: execute(database, WAITING) == [(1,)])
