"""What has to be true of a fleet once it is quiet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from faults.journal import Entry, Journal

#: Ids that a message about many of them shows.
SHOWN_IDS = 3

#: Rows that only half of a writer can have left behind. What a tracked task cannot be
#: without by its table, such as a name, is not asked for.
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
        tasks: How many there were.
        attempts: How many messages they had.
        repeated_runs: Runs beyond the first of each message. A message runs again if
            the broker delivers it again, or if the producer publishes it again because
            it got no answer.
    """

    tasks: int
    attempts: int
    repeated_runs: int

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks tracked once, {self.attempts} attempts accounted for, "
            f"{self.repeated_runs} runs again"
        )


@dataclass(frozen=True)
class ResultDatabase:
    """The database of a fleet.

    Attributes:
        database: Its SQLAlchemy URL.
    """

    database: str

    def rows(self, query: str) -> list[Any]:
        """Return the rows of a query on a connection of its own."""
        with create_engine(self.database, poolclass=NullPool).connect() as connection:
            return list(connection.execute(text(query)))

    def statuses(self) -> list[tuple[str, str]]:
        """Return id and status of each row of the view."""
        return [
            (i, s) for i, s in self.rows("SELECT id, status FROM workertoolbox_tasks")
        ]

    def unfinished(self, journal: Journal) -> set[str]:
        """Return the ids of tasks that are published or promised, and have no end."""
        known = {entry.id for entry in journal.published} | journal.announced
        return known - {id for id, status in self.statuses() if status == "SUCCESS"}


def verify(journal: Journal, ends: ResultDatabase, left: dict[str, int]) -> Summary:
    """Compare what was published and run with what is in the database.

    Args:
        left: How many messages each queue has, with those not acknowledged.

    Raises:
        AssertionError: Something is missing, too many, or half written.
    """
    attempted, published, executed = (
        journal.attempted,
        journal.published,
        journal.executed,
    )
    undelivered = executed - journal.delivered
    statuses = ends.statuses()
    rows = Counter(id for id, _ in statuses)
    attempts = _attempts(ends)
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
    _assert_none([row.id for row in ends.rows(HALF_WRITTEN)], "half-written rows")
    for table in ("workertoolbox_quarantine", "workertoolbox_chord_part"):
        assert not ends.rows(f"SELECT * FROM {table}"), f"{table} is not empty"
    waiting = {queue: count for queue, count in left.items() if count}
    assert not waiting, f"messages are left: {waiting}"
    return Summary(len(rows), len(attempts), executed.total() - len(executed))


def _attempts(ends: ResultDatabase) -> set[Entry]:
    query = "SELECT task_id, replaced, retries, queue FROM workertoolbox_attempt"
    return {Entry(*row) for row in ends.rows(query)}


def _assert_none(found: Collection[object], what: str) -> None:
    assert not found, f"{what}: {len(found)}, such as {list(found)[:SHOWN_IDS]}"
