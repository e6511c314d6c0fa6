"""The methods of `TaskStore` about services, workers, names and queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cadasta.workertoolbox.results._store.fleet.routes import Route, read_routes
from cadasta.workertoolbox.results._store.fleet.workers import Worker, read_workers
from cadasta.workertoolbox.results._store.open_database import LATER, OpenDatabase
from cadasta.workertoolbox.results._store.rows.dated_ids import days_by_id
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.search.known_values import (
    known_names,
    known_queues,
)
from cadasta.workertoolbox.results._store.search.untracked import find_untracked
from cadasta.workertoolbox.results._task import Task

#: Days that `names` and `queues` look back.
KNOWN_DAYS = 30


class Fleet(OpenDatabase):
    """The methods of `TaskStore` about services, workers, names and queues."""

    def services(
        self, *, since: datetime | None = None, internal: bool = False
    ) -> Sequence[Route]:
        """Return which services send each task, and which workers run it.

        Only the latest fifty ended and the latest fifty live tasks of each name are
        read, so a route that is rare among the tasks of its name may be missing.

        Example:
            Tasks that have been sent, but that no worker has run::

                [each.name for each in store.services() if not each.workers]

        Args:
            since: Only tasks that were published since then, or are live; None for a
                day ago.
            internal: Whether to include Celery's own tasks, `celery.*`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        since = since or datetime.now(UTC) - timedelta(days=1)
        with self._snapshot(LATER) as connection:
            return read_routes(connection, since=since, internal=internal)

    def workers(self, *, since: datetime | None = None) -> Sequence[Worker]:
        """Return the workers that have started or ended tasks lately, by name.

        No worker is asked, so this works on every broker. A worker that has had no task
        is not known.

        Example:
            Workers that fail more than half of their tasks::

                [each.name for each in store.workers() if each.failed * 2 > each.ended]

        Args:
            since: Only workers that were seen since then, or run a task; None for an
                hour ago.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        now = datetime.now(UTC)
        since = since or now - timedelta(hours=1)
        with self._snapshot(LATER) as connection:
            return read_workers(connection, since=since, now=now)

    def names(self) -> Sequence[str]:
        """Return the names of the live tasks and of those of the last 30 days, sorted.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        since = datetime.now(UTC) - timedelta(days=KNOWN_DAYS)
        with self._snapshot() as connection:
            return known_names(connection, since)

    def queues(self) -> Sequence[str]:
        """Return the queues of the live tasks and of those of the last 30 days, sorted.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        since = datetime.now(UTC) - timedelta(days=KNOWN_DAYS)
        with self._snapshot() as connection:
            return known_queues(connection, since)

    def untracked(self, *, since: datetime, limit: int = 50) -> Sequence[Task]:
        """Return tasks that a worker ran although no monitor has seen their message.

        They are sorted by their latest state, the newest first. A result that is less
        than a minute old is left out, because its message may still arrive. At most the
        newest 100,000 tasks are looked at.

        Args:
            since: Only tasks whose latest state was stored since then.
            limit: Maximum number of tasks to return.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot(LATER) as connection:
            found = find_untracked(connection, limit, since=since)
            days = days_by_id(found)
            ids = [each.id for each in found]
            return read_tasks(connection, ids, days=days, detail=Detail.BRIEF)
