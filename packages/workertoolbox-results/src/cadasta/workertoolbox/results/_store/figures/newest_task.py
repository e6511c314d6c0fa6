"""The newest task that a monitor has stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.tables import history, task
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.rows.day_windows import day_windows


@dataclass(frozen=True, slots=True)
class NewestTask(JsonRecord):
    """The most recently published task that a monitor has stored.

    Attributes:
        scheduled_at: When it was published.
        seen_at: When the monitor received its message.
    """

    scheduled_at: datetime
    seen_at: datetime

    @property
    def lag(self) -> timedelta:
        """How long the message took to reach the monitor."""
        return self.seen_at - self.scheduled_at


def find_newest_task(connection: Connection) -> NewestTask | None:
    """Find the newest task by the indexes on its publication; return None without any.

    Args:
        connection: That of a store's snapshot.
    """
    until = datetime.now(UTC) + MAX_LEAD
    query = (
        select(task.c.scheduled_at, task.c.seen_at)
        .where(task.c.scheduled_at <= until)
        .order_by(task.c.scheduled_at.desc())
        .limit(1)
    )
    archived = (
        select(history.c.scheduled_at, history.c.seen_at)
        .where(history.c.listed_at <= until, history.c.seen_at.is_not(None))
        .order_by(history.c.listed_at.desc())
        .limit(1)
    )
    rows = [*connection.execute(query)]
    for window in day_windows(connection):
        if rows and window.is_before(rows[0].scheduled_at):
            break
        rows += connection.execute(archived.where(*window.conditions()))
        rows.sort(key=lambda row: row.scheduled_at, reverse=True)
    return NewestTask(*rows[0]) if rows else None
