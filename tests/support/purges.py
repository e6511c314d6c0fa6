"""Run `celery … tasks purge`, and look at what it waits for and leaves."""

from __future__ import annotations

from support.expired_tasks import TABLES
from support.polling import wait_until
from support.processes import Process
from support.statements import fetch

#: Options that select the tasks which `support.expired_tasks` stores.
OLDER_THAN_30_DAYS = ("--older-than", "30d")

#: The ids left in each table if everything was deleted.
NOTHING: dict[str, set[str]] = {table: set() for table in TABLES}

#: Counts statements like `:words` that wait for a lock on a row.
BLOCKED_STATEMENTS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE :words
AND wait_event_type = 'Lock' AND wait_event <> 'advisory'
"""


def last_line(process: Process, *, exit_code: int = 0) -> str:
    """Wait until a process ends, and return its last line of output.

    Raises:
        AssertionError: It ended with another exit code.
    """
    assert process.wait(timeout_s=60) == exit_code, process.tail
    return process.text.splitlines()[-1]


def wait_until_blocked(database: str, words: str) -> None:
    """Wait until one statement like `words` waits for a lock on a row."""
    wait_until(lambda: fetch(database, BLOCKED_STATEMENTS, words=words) == [(1,)])
