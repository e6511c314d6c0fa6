"""Figures about tasks, queues and messages, for metrics, `tasks stats` and others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import IS_UNARCHIVED, taskmeta
from cadasta.workertoolbox.results._store.figures.completeness import (
    Completeness,
    read_completeness,
)
from cadasta.workertoolbox.results._store.figures.newest_task import (
    NewestTask,
    find_newest_task,
)
from cadasta.workertoolbox.results._store.figures.queues import (
    QueueBacklog,
    read_queues,
)
from cadasta.workertoolbox.results._store.figures.rollups import (
    BacklogSample,
    TaskFigures,
    read_backlog,
    read_figures,
)
from cadasta.workertoolbox.results._store.figures.stats import (
    Grouping,
    StatsTable,
    read_stats,
)
from cadasta.workertoolbox.results._store.open_database import (
    LATER,
    LATER_OR_NAMED,
    OpenDatabase,
)


class Figures(OpenDatabase):
    """The methods of `TaskStore` that return figures."""

    def newest_task(self) -> NewestTask | None:
        """Return the newest task that a monitor has stored, or None without tasks.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            return find_newest_task(connection)

    def has_uncounted_ends(self) -> bool:
        """Return whether a task has ended that is not in the history yet.

        The figures count it when it is moved there, about a minute after its end.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        query = select(taskmeta.c.task_id).where(
            text(IS_UNARCHIVED), taskmeta.c.status.in_(ENDED)
        )
        with self._snapshot() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def completeness(self) -> Completeness:
        """Return up to which time the database knows what happened.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            return read_completeness(connection, datetime.now(UTC))

    def figures(
        self,
        *,
        since: datetime,
        until: datetime | None = None,
        step: timedelta | None = None,
        name: str | None = None,
        queue: str | None = None,
        status: str | None = None,
        error_group: str | None = None,
        internal: bool = True,
    ) -> TaskFigures:
        """Return figures about the tasks that ended in a window and are archived.

        The window is extended to whole minutes. Minutes are kept for a week by default,
        and hours for 90 days; a window that begins before that is extended to whole
        hours or days. `since` and `until` of the figures say which window they cover.

        Example:
            The tasks of the last day, and their run times by the hour::

                day = store.figures(
                    since=datetime.now(UTC) - timedelta(days=1),
                    step=timedelta(hours=1),
                )
                print(day.count, [each.ran.p95_s for each in day.series])

        Args:
            since: The start of the window.
            until: Its end; None for the present.
            step: Length of the parts for which `series` has figures: a whole number of
                minutes. The window is extended to whole steps, and where minutes or
                hours are not kept, the step is an hour or a day.
            name: Only tasks of this name.
            queue: Only tasks of this work queue.
            status: Only tasks that ended with this status. With `RETRY`, only attempts
                that failed and were retried.
            error_group: Only failures of this group of errors.
            internal: Whether to include Celery's own tasks, `celery.*`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            InvalidWindow: The window ends before it begins, or has too many steps, or
                the step is not a whole number of minutes.
        """
        with self._snapshot(LATER_OR_NAMED) as connection:
            return read_figures(
                connection,
                since=since,
                until=until or datetime.now(UTC),
                step=step,
                internal=internal,
                name=name,
                queue=queue,
                status=status,
                error_group=error_group,
            )

    def backlog(self) -> Sequence[QueueBacklog]:
        """Return what waits and runs in each queue, most tasks first.

        Queues that had tasks within the last hour are included. Workers are known
        from the starts and ends of tasks, on every broker.

        Example:
            Queues whose oldest task has waited for more than five minutes::

                late = [each for each in store.backlog() if each.oldest_s > 300]

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            return read_queues(connection, datetime.now(UTC))

    def backlog_samples(
        self,
        *,
        since: datetime,
        until: datetime | None = None,
        step: timedelta = timedelta(minutes=1),
        queue: str | None = None,
    ) -> Sequence[BacklogSample]:
        """Return how many tasks were queued in the steps of a window, oldest first.

        Each step has a sample for each queue that had tasks, and one for all queues
        together. A step without samples is left out: no archiver was running.

        Args:
            since: The start of the window.
            until: Its end; None for the present.
            step: As for `figures`.
            queue: Only samples of this work queue.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            InvalidWindow: As for `figures`.
        """
        with self._snapshot(LATER) as connection:
            return read_backlog(
                connection,
                since=since,
                until=until or datetime.now(UTC),
                step=step,
                queue=queue,
            )

    def stats(
        self,
        *,
        since: datetime,
        until: datetime | None = None,
        by: Grouping | None = None,
        limit: int = 20,
        name: str | None = None,
        queue: str | None = None,
        status: str | None = None,
        error_group: str | None = None,
        internal: bool = False,
        gone: bool = False,
        coarse: bool = False,
    ) -> StatsTable:
        """Return statistics of the tasks that ended in a window, and in the one before.

        The window is extended to whole minutes, hours or days as for `figures`. The
        window before has the same length and ends where it begins.

        Example:
            The ten busiest tasks of the last hour, and how much busier they are than an
            hour ago::

                hour = datetime.now(UTC) - timedelta(hours=1)
                for row in store.stats(since=hour, by="name", limit=10).rows:
                    before = row.before.per_second if row.before else None
                    print(row.value, row.now.per_second, before, row.now.ran.p95_s)

        Args:
            since: The start of the window.
            until: Its end; None for the last minute whose tasks are all archived, which
                is one or two minutes ago.
            by: Whether to return rows by `name` or by `queue`. Figures are not kept by
                worker: `workers` counts the ends of the last ten minutes.
            limit: Maximum number of rows; the other names or queues are added up.
            name: Only tasks of this name.
            queue: Only tasks of this work queue.
            status: Only tasks that ended with this status.
            error_group: Only failures of this group of errors.
            internal: Whether to include Celery's own tasks, `celery.*`. With `name`
                they are always included.
            gone: Whether to include names or queues of which tasks ended in the window
                before, and none in this one.
            coarse: Whether a window of half a day or more may be extended to whole
                hours, and one of fourteen days or more to whole days, which takes less
                time.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            InvalidGrouping: `by` has another value.
            InvalidWindow: The window ends before it begins.
        """
        with self._snapshot(LATER_OR_NAMED) as connection:
            return read_stats(
                connection,
                since=since,
                until=until,
                by=by,
                limit=limit,
                internal=internal,
                gone=gone,
                coarse=coarse,
                name=name,
                queue=queue,
                status=status,
                error_group=error_group,
            )
