"""`TaskStore`: typed queries on the results database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from celery import Celery
from sqlalchemy import Connection, Engine, func, select, text

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    translate_errors,
)
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._database.tables import attempt, quarantine
from cadasta.workertoolbox.results._errors import ResultsError, TaskNotFound
from cadasta.workertoolbox.results._store.filters import Filters
from cadasta.workertoolbox.results._store.known_values import (
    check_status,
    check_values,
)
from cadasta.workertoolbox.results._store.recent import (
    NewestTask,
    RecentCounts,
    count_recent,
    find_newest_task,
)
from cadasta.workertoolbox.results._store.search import (
    find_child_ids,
    find_newest_ids,
    find_stuck_ids,
)
from cadasta.workertoolbox.results._store.task import Task
from cadasta.workertoolbox.results._store.view import read_tasks
from cadasta.workertoolbox.results._workflows.members import find_workflow


class TaskStore:
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

    Attributes:
        engine: The SQLAlchemy engine with the store's connections.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        InvalidURL: The URL does not name a supported database, or its driver is not
            installed.
        SchemaOutdated: The tables are missing or too old.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(database_url(url))
        try:
            check_schema(self.engine)
        except ResultsError:
            self.close()
            raise

    @classmethod
    def for_app(cls, app: Celery) -> Self:
        """Open the database that an app's `result_backend` names.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
            InvalidURL: `result_backend` does not name a supported database, or its
                driver is not installed.
            SchemaOutdated: The tables are missing or too old.
        """
        return cls(app.conf.result_backend)

    @classmethod
    def from_engine(cls, engine: Engine) -> Self:
        """Return a store that uses an open engine, without checking its schema.

        `close` disposes of the engine.
        """
        store = cls.__new__(cls)
        store.engine = engine
        return store

    def get(self, id: str) -> Task:
        """Return a task by its id.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            TaskNotFound: Neither a monitor nor a worker has seen the task.
        """
        task = self.find(id)
        if task is None:
            raise TaskNotFound(id)
        return task

    def find(self, id: str) -> Task | None:
        """Find a task by its id; return None if no monitor and no worker has seen it.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            return next(iter(read_tasks(connection, [jsonable(id)])), None)

    def list(
        self,
        *,
        limit: int = 50,
        name: str | None = None,
        status: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
        internal: bool = False,
        brief: bool = False,
    ) -> Sequence[Task]:
        """Return tasks, newest first.

        Tasks are sorted by their first message, or by their latest state if no monitor
        has seen a message. With `worker`, or a status that workers store other than
        `SUCCESS`, all tasks are sorted by their latest state, and name and queue are
        those of the run that stored it. Steps that are not published yet are last.

        Example:
            The newest ten tasks of a queue that have not started yet::

                store.list(queue="export", status="QUEUED", limit=10)

        Args:
            limit: Maximum number of tasks to return.
            name: Only tasks of this name.
            status: Only tasks with this status: one of Celery's, `QUEUED`, `SCHEDULED`,
                `PLANNED`, or a custom state.
            queue: Only tasks of this work queue.
            worker: Only tasks that this worker ran, such as `celery@host`.
            internal: Whether to include Celery's own tasks, `celery.*`. With `name`
                they are always included.
            brief: Whether to leave out arguments, results and tracebacks, which may be
                large; they are None then.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            UnknownStatus: No task has the status, and it is neither one of Celery's nor
                `QUEUED`, `SCHEDULED`, `PLANNED`, `PROGRESS` or `ABORTED`.
        """
        filters = Filters(
            name=name, status=status, queue=queue, worker=worker, internal=internal
        )
        with self._snapshot() as connection:
            ids = find_newest_ids(connection, filters, limit)
            found = read_tasks(connection, ids, brief=brief)
            if not found and status is not None:
                check_status(connection, status)
        return found

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
        with self._snapshot() as connection:
            ids = find_stuck_ids(connection, filters, limit, before=before)
            return read_tasks(connection, ids, brief=brief)

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

    def workflow(self, root_id: str, *, internal: bool = False) -> Sequence[Task]:
        """Return every task of a workflow, oldest first.

        The tasks of a group or a chord that begins outside a task have a root each.
        Such a workflow is found by each of these roots.

        Args:
            root_id: Id of the task that began the workflow, or of one of its groups.
            internal: Whether to include Celery's own tasks, `celery.*`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            found = find_workflow(connection, jsonable(root_id))
            tasks = read_tasks(connection, sorted(found.task_ids))
        return _oldest_first(
            task
            for task in tasks
            if (task.root_id in found.root_ids or task.group_id in found.group_ids)
            and (internal or not task.internal)
        )

    def children(self, parent_id: str, *, internal: bool = False) -> Sequence[Task]:
        """Return the tasks that a task has published, oldest first.

        Planned steps that follow the task directly are included.

        Args:
            parent_id: Id of the task.
            internal: Whether to include Celery's own tasks, `celery.*`.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        id = jsonable(parent_id)
        with self._snapshot() as connection:
            tasks = read_tasks(connection, find_child_ids(connection, id))
        return _oldest_first(
            task
            for task in tasks
            if task.parent_id == id and (internal or not task.internal)
        )

    def published_attempts(self, id: str) -> Sequence[int]:
        """Return the retry number of each published attempt of a task, in order.

        Each message of the task that a monitor has seen is one attempt. The first has
        number 0. A task that replaced itself begins again at 0.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        query = (
            select(attempt.c.retries)
            .where(attempt.c.task_id == id)
            .order_by(attempt.c.replaced, attempt.c.retries)
        )
        with self._connected() as connection:
            return connection.scalars(query).all()

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

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with translate_errors(self.engine), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """Yield a connection whose statements all see the same snapshot of the rows."""
        with self._connected() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
                # PostgreSQL compiles queries that it estimates to be expensive. These
                # are cheap: compiling them takes longer than running them.
                connection.execute(text("SET LOCAL jit = off"))
            yield connection


def _oldest_first(tasks: Iterable[Task]) -> Sequence[Task]:
    """Return tasks by their publication; planned steps are last."""
    last = datetime.max.replace(tzinfo=UTC)
    return sorted(tasks, key=lambda task: (task.scheduled_at or last, task.id))
