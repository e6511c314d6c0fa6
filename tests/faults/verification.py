"""Checks of what a fleet has published, run and stored, once it is idle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from faults.journal import Entry, Journal

#: The number of ids that an error message shows.
SHOWN_IDS = 3

#: Selects tasks that the monitor or a worker stored incompletely. Columns that are NOT
#: NULL in their table, such as the name, need no check.
HALF_WRITTEN = """
SELECT id FROM workertoolbox_tasks
WHERE NOT tracked OR args IS NULL OR kwargs IS NULL OR root_id IS NULL
    OR started_at IS NULL OR finished_at IS NULL OR worker IS NULL
    OR result IS NULL OR traceback IS NOT NULL OR finished_at < started_at
"""


@dataclass(frozen=True)
class Summary:
    """What a fleet has done.

    Attributes:
        tasks: The number of tasks.
        attempts: The number of their messages.
        repeated_runs: Runs beyond the first of each message. A message runs again if
            the broker delivers it again, or if the producer publishes it again because
            it got no answer.
    """

    tasks: int
    attempts: int
    repeated_runs: int

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks and {self.attempts} attempts tracked exactly once, "
            f"{self.repeated_runs} repeated runs"
        )


@dataclass(frozen=True)
class ResultDatabase:
    """The database of a fleet.

    Attributes:
        url: Its SQLAlchemy URL.
    """

    url: str

    def rows(self, query: str) -> list[Any]:
        """Return the rows of a query, read on a new connection."""
        with create_engine(self.url, poolclass=NullPool).connect() as connection:
            return list(connection.execute(text(query)))

    def statuses(self) -> list[tuple[str, str]]:
        """Return the id and the status of each task in the view."""
        return [
            (i, s) for i, s in self.rows("SELECT id, status FROM workertoolbox_tasks")
        ]

    def unfinished(self, journal: Journal) -> set[str]:
        """Return the ids of published and announced tasks that have not succeeded."""
        known = {entry.id for entry in journal.published} | journal.announced
        return known - {id for id, status in self.statuses() if status == "SUCCESS"}


def verify(
    journal: Journal, database: ResultDatabase, messages: dict[str, int]
) -> Summary:
    """Compare the journal with the database.

    Args:
        messages: The number of messages in each queue, including unacknowledged ones.

    Raises:
        AssertionError: A task or an attempt is missing, was not published, or is stored
            incompletely; or messages are left.
    """
    attempted, published, executed = (
        journal.attempted,
        journal.published,
        journal.executed,
    )
    undelivered = executed - journal.delivered
    statuses = database.statuses()
    rows = Counter(id for id, _ in statuses)
    attempts = _attempts(database)
    known = {entry.id for entry in published} | journal.announced

    _assert_none(
        [id for id, count in rows.items() if count > 1], "tasks with more than one row"
    )
    _assert_none(known - set(rows), "published tasks without a row")
    _assert_none(
        set(rows) - {entry.id for entry in attempted},
        "tasks with a row that were not published",
    )
    _assert_none(
        [id for id, status in statuses if status != "SUCCESS"],
        "tasks that did not succeed",
    )
    _assert_none(set(published) - attempts, "published messages without an attempt")
    _assert_none(attempts - set(attempted), "attempts that were not published")
    _assert_none(
        set(executed) - set(attempted), "runs of messages that were not published"
    )
    _assert_none(undelivered, "messages that ran more often than they were delivered")
    _assert_none(set(published) - set(executed), "published messages that never ran")
    _assert_none([row.id for row in database.rows(HALF_WRITTEN)], "half-written rows")
    for table in ("workertoolbox_quarantine", "workertoolbox_chord_part"):
        assert not database.rows(f"SELECT * FROM {table}"), f"{table} is not empty"
    left = {queue: count for queue, count in messages.items() if count}
    assert not left, f"messages are left: {left}"
    return Summary(len(rows), len(attempts), executed.total() - len(executed))


def _attempts(database: ResultDatabase) -> set[Entry]:
    """Return the messages of live tasks, and of those in the history."""
    live = "SELECT task_id, replaced, retries, queue FROM workertoolbox_attempt"
    found = {Entry(*row) for row in database.rows(live)}
    # The history has a list only if a task had several messages.
    archived = (
        "SELECT id, replaced, retries, queue, messages FROM workertoolbox_history"
        " WHERE seen_at IS NOT NULL"
    )
    for id, replaced, retries, queue, messages in database.rows(archived):
        if messages is None:
            found.add(Entry(id, replaced, retries, queue))
            continue
        records = json.loads(messages) if isinstance(messages, str) else messages
        for each in records:
            found.add(Entry(id, each["replaced"], each["retries"], each["queue"]))
    return found


def _assert_none(found: Collection[object], what: str) -> None:
    assert not found, f"{what}: {len(found)}, such as {list(found)[:SHOWN_IDS]}"
