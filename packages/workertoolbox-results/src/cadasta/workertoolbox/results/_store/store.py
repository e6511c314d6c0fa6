"""`TaskStore`: typed queries on the results database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._store.errors.changes import ErrorChanges
from cadasta.workertoolbox.results._store.errors.groups import ErrorGroups
from cadasta.workertoolbox.results._store.figures.methods import Figures
from cadasta.workertoolbox.results._store.figures.releases import Releases
from cadasta.workertoolbox.results._store.fleet.methods import Fleet
from cadasta.workertoolbox.results._store.open_database import NAMED
from cadasta.workertoolbox.results._store.operations.journal import Operations
from cadasta.workertoolbox.results._store.rows.filters import Filters
from cadasta.workertoolbox.results._store.rows.ids import stored_id
from cadasta.workertoolbox.results._store.rows.reading import read_found, read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.schedules.entries import Schedules
from cadasta.workertoolbox.results._store.search.filtered import (
    find_newest,
    find_stuck,
)
from cadasta.workertoolbox.results._store.search.known_values import (
    check_status,
    check_values,
)
from cadasta.workertoolbox.results._store.search.methods import Searches
from cadasta.workertoolbox.results._store.search.unusual import UnusualTasks
from cadasta.workertoolbox.results._store.tasks.attempts import (
    Attempt,
    find_attempts,
    find_retries,
)
from cadasta.workertoolbox.results._store.tasks.details import SingleTasks
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCalls
from cadasta.workertoolbox.results._store.tasks.workflows import Workflows
from cadasta.workertoolbox.results._store.upkeep.health import DatabaseHealth
from cadasta.workertoolbox.results._store.upkeep.quarantine import Quarantine
from cadasta.workertoolbox.results._store.why.explanations import Reasons
from cadasta.workertoolbox.results._task import Task


class TaskStore(
    DatabaseHealth,
    ErrorChanges,
    ErrorGroups,
    Figures,
    Fleet,
    Operations,
    Quarantine,
    Reasons,
    Releases,
    Schedules,
    Searches,
    SingleTasks,
    StoredCalls,
    UnusualTasks,
    Workflows,
):
    """Queries for every task that was published, and for its result.

    A store is a context manager that closes its connections. Threads may share it.

    Example:
        Print the newest failures::

            url = "workertoolbox+postgresql+psycopg2://reader@db/workers"
            with TaskStore(url) as store:
                for task in store.list(status="FAILURE", limit=10):
                    print(task.id, task.name, task.result)

    Args:
        url: The database, as in `result_backend`: `workertoolbox+…`, `db+…` or a URL
            for SQLAlchemy. Its role only needs to read rows.
        timeout_s: Seconds that the statements of one call may take together. A shorter
            `statement_timeout` of the role or of the URL stays.

    Attributes:
        engine: The SQLAlchemy engine with the store's connections.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        InvalidURL: The URL does not name a supported database, or its driver is not
            installed.
        SchemaOutdated: The tables are missing or too old.

    Every method that queries tasks also raises `QueryTimeout` if the database needs
    longer than `timeout_s`, and `TypeError` for an id that is not a text.
    """

    def get(self, id: str, *, shortened: bool = False) -> Task:
        """Return a task by its id.

        Args:
            id: Id of the task.
            shortened: Whether to leave out arguments and tracebacks, and to read only
                the beginning of a large result. Lists and texts in it are cut off then.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            TaskNotFound: Neither a monitor nor a worker has seen the task.
        """
        task = self.find(id, shortened=shortened)
        if task is None:
            raise TaskNotFound(id)
        return task

    def find(self, id: str, *, shortened: bool = False) -> Task | None:
        """Find a task by its id; return None if no monitor and no worker has seen it.

        Args:
            id: Id of the task.
            shortened: As for `get`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        detail = Detail.of(shortened=shortened)
        with self._snapshot() as connection:
            found = read_tasks(connection, [stored_id(id)], detail=detail)
        return next(iter(found), None)

    def list(
        self,
        *,
        limit: int = 50,
        name: str | None = None,
        status: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
        error_group: str | None = None,
        internal: bool = False,
        brief: bool = False,
    ) -> Sequence[Task]:
        """Return tasks, newest first.

        Tasks are sorted by their first message, or by their latest state if no monitor
        has seen a message. With `worker`, `error_group`, or a status that workers store
        other than `SUCCESS`, all tasks are sorted by their latest state, and name and
        queue are those of the run that stored it. Steps that are not published yet are
        last.

        Example:
            The newest ten tasks of a queue that have not started yet::

                store.list(queue="export", status="QUEUED", limit=10)

        Args:
            limit: Maximum number of tasks to return.
            name: Only tasks of this name.
            status: Only tasks with this status: one of Celery's, `QUEUED`, `SCHEDULED`,
                `PLANNED`, `LOST`, or a custom state.
            queue: Only tasks of this work queue.
            worker: Only tasks that this worker ran, such as `celery@host`.
            error_group: Only tasks whose latest error is in the group with this key.
            internal: Whether to include Celery's own tasks, `celery.*`. With `name`
                they are always included.
            brief: Whether to leave out arguments, results and tracebacks, which may be
                large; they are None then.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            UnknownStatus: No task has the status, and it is neither one of Celery's nor
                `QUEUED`, `SCHEDULED`, `PLANNED`, `LOST`, `PROGRESS` or `ABORTED`.
        """
        filters = Filters(
            name=name,
            status=status,
            queue=queue,
            worker=worker,
            error_group=error_group,
            internal=internal,
        )
        with self._snapshot(NAMED) as connection:
            detail = Detail.of(brief=brief)
            found = find_newest(connection, filters, limit, detail)
            if not found and status is not None:
                check_status(connection, status)
            return read_found(connection, found, detail)

    def stuck(
        self,
        longer_than: timedelta,
        *,
        limit: int = 50,
        name: str | None = None,
        queue: str | None = None,
        internal: bool = False,
        brief: bool = False,
    ) -> Sequence[Task]:
        """Return tasks that have been queued or running for too long, longest first.

        A task is queued from the moment it can run: from its ETA, if it has one. A task
        that is to be retried is queued again.

        Example:
            Tasks that have been waiting or running for more than a quarter of an hour::

                store.stuck(timedelta(minutes=15))

        Args:
            longer_than: Minimum time since the task was queued or started.
            limit: Maximum number of tasks to return.
            name: Only tasks of this name.
            queue: Only tasks of this work queue.
            internal: Whether to include Celery's own tasks, `celery.*`. With `name`
                they are always included.
            brief: As for `list`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        filters = Filters(name=name, queue=queue, internal=internal)
        before = datetime.now(UTC) - longer_than
        with self._snapshot(NAMED) as connection:
            found = find_stuck(connection, filters, limit, before=before)
            ids = [each.id for each in found]
            return read_tasks(connection, ids, days={}, detail=Detail.of(brief=brief))

    def check_filters(
        self,
        *,
        name: str | None = None,
        status: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
        known: Collection[str] = (),
    ) -> None:
        """Refuse values of filters that no task has, with the nearest ones.

        A query for such a value returns nothing, as does one for a value that no task
        has for the moment.

        Args:
            name: Name of a task.
            status: As for `list`.
            queue: A work queue.
            worker: A worker.
            known: Names and queues that are right, although no task has them yet.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            UnknownStatus: No task has the status.
            UnknownValue: No task has the name, the queue or the worker.
        """
        filters = Filters(name=name, status=status, queue=queue, worker=worker)
        with self._snapshot() as connection:
            check_values(connection, filters, known)

    def attempts(self, id: str) -> Sequence[Attempt]:
        """Return the attempts of a task in order, also those that are still to run.

        An attempt is a message of the task, or a further run of a message that was
        delivered again. Of many attempts, the last hundred are known. An unknown task
        has none; `get` raises an error for it.

        Example:
            What became of each attempt of a task::

                for attempt in store.attempts(id):
                    print(attempt.worker, attempt.outcome, attempt.error)

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        known_id = stored_id(id)
        with self._snapshot() as connection:
            return find_attempts(connection, [known_id])[known_id]

    def attempts_of(
        self, ids: Sequence[str], *, ended_at: Mapping[str, datetime] | None = None
    ) -> Mapping[str, Sequence[Attempt]]:
        """Return the attempts of several tasks by their ids, as `attempts` does.

        Args:
            ended_at: When tasks ended, by id, if that is known. It takes less time to
                find these.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        known = [*dict.fromkeys(stored_id(id) for id in ids)]
        with self._snapshot() as connection:
            return find_attempts(connection, known, ended_at)

    def published_attempts(self, id: str) -> Sequence[int]:
        """Return the retry number of each published attempt of a task, in order.

        Each message of the task that a monitor has seen is one attempt. The first has
        number 0. A task that replaced itself begins again at 0.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            return find_retries(connection, stored_id(id))
