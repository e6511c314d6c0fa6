"""Figures about tasks and messages, for metrics and for `tasks check`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._database.tables import quarantine
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.recent import (
    NewestTask,
    RecentCounts,
    count_recent,
    find_newest_task,
)


class Figures(OpenDatabase):
    """The methods of `TaskStore` that return figures."""

    def newest_task(self) -> NewestTask | None:
        """Return the newest task that a monitor has stored, or None without tasks.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with translate_errors(self.engine):
            return find_newest_task(self.engine)

    def count_recent(self) -> RecentCounts:
        """Count the tasks of the last hour, and the results without a task.

        Raises:
            DatabaseUnavailable: The database cannot be reached, refuses the query, or
                takes more than five seconds.
        """
        with translate_errors(self.engine):
            return count_recent(self.engine)

    def count_quarantined(self) -> int:
        """Count the messages in quarantine.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        query = select(func.count()).select_from(quarantine)
        with self._connected() as connection:
            return connection.execute(query).scalar_one()

    def quarantine_reasons(self, *, limit: int = 50) -> Sequence[str]:
        """Return why messages are in quarantine, newest message first.

        Args:
            limit: Maximum number of messages to look at.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        query = (
            select(quarantine.c.reason).order_by(quarantine.c.id.desc()).limit(limit)
        )
        with self._connected() as connection:
            return connection.scalars(query).all()
