"""Typed queries over the database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from celery import Celery, states
from sqlalchemy import Connection, Engine, func, select, text

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database import tables as _tables
from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    translate_errors,
)
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._errors import ResultsError, TaskNotFound
from cadasta.workertoolbox.results._store import search as _search
from cadasta.workertoolbox.results._store.filters import Filters
from cadasta.workertoolbox.results._store.recent import (
    NewestTask,
    RecentCounts,
    count_recent,
    find_newest_task,
)
from cadasta.workertoolbox.results._store.status import check_status
from cadasta.workertoolbox.results._store.task import Task

_view = _tables.tasks

#: Tasks that are read by one statement.
IDS = 1000

#: The view's columns, with the result as it was stored.
_tasks = select(
    *(column for column in _view.c if column.name != "result"),
    _tables.taskmeta.c.result.label("stored"),
).join_from(
    _view,
    _tables.taskmeta,
    _view.c.id == _tables.taskmeta.c.task_id,
    isouter=True,
)


class TaskStore:
    """Every task that was scheduled, and what became of it.

    Args:
        url: As in `result_backend`: `workertoolbox+…`, `db+…` or SQLAlchemy's own.

    Attributes:
        engine: Its connections.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        InvalidURL: It names no SQL database.
        SchemaOutdated: Its tables are missing or too old.
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
        """Open the database that an app's `result_backend` names."""
        return cls(app.conf.result_backend)

    @classmethod
    def from_engine(cls, engine: Engine) -> Self:
        """Return a store that uses an open engine, without checking its schema."""
        store = cls.__new__(cls)
        store.engine = engine
        return store

    def get(self, id: str) -> Task:
        """Return a task.

        Raises:
            TaskNotFound: Neither a monitor nor a worker has seen it.
        """
        task = self.find(id)
        if task is None:
            raise TaskNotFound(id)
        return task

    def find(self, id: str) -> Task | None:
        """Return a task, or None if nobody has seen it."""
        with self._snapshot() as connection:
            return next(iter(_read(connection, [jsonable(id)])), None)

    def list(
        self,
        *,
        limit: int = 50,
        name: str | None = None,
        status: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
        internal: bool = False,
    ) -> Sequence[Task]:
        """Return tasks, newest first.

        A task is as new as its first message, or as its latest state if no monitor
        saw a message. All are by their latest state if a worker is asked for, or a
        status of Celery's other than `SUCCESS`; name and queue are then those of the
        run that stored it. Steps that are still to come are last.

        Args:
            limit: Most tasks to return.
            worker: Only what this worker ran, such as `celery@host`.
            internal: Whether to include Celery's own tasks, `celery.*`; one that is
                asked for by its name is shown in any case.

        Raises:
            DatabaseUnavailable: It cannot be reached or refuses.
            UnknownStatus: There is no such task, and the status resembles a known one.
        """
        filters = Filters(
            name=name, status=status, queue=queue, worker=worker, internal=internal
        )
        with self._snapshot() as connection:
            found = _read(connection, _search.newest(connection, filters, limit))
        if not found and status is not None:
            check_status(status)
        return found

    def stuck(
        self,
        longer_than: timedelta,
        *,
        limit: int = 50,
        name: str | None = None,
        queue: str | None = None,
        internal: bool = False,
    ) -> Sequence[Task]:
        """Return tasks that are queued or started for long, the longest first.

        A task is queued from when it could run: from its ETA, if it has one. One that
        is to be retried is queued again.

        Args:
            longer_than: How long at least.
            limit: Most tasks to return.
            internal: Whether to include Celery's own tasks, `celery.*`; one that is
                asked for by its name is shown in any case.

        Raises:
            DatabaseUnavailable: It cannot be reached or refuses.
        """
        filters = Filters(name=name, queue=queue, internal=internal)
        before = datetime.now(UTC) - longer_than
        with self._snapshot() as connection:
            ids = _search.stuck(connection, filters, limit, before=before)
            return _read(connection, ids)

    def workflow(self, root_id: str, *, internal: bool = False) -> Sequence[Task]:
        """Return every task of the workflow that a task began, the oldest first."""
        return self._related("root_id", root_id, internal=internal)

    def children(self, parent_id: str, *, internal: bool = False) -> Sequence[Task]:
        """Return the tasks that a task has published, the oldest first.

        Steps that are to come after it and no other are among them.
        """
        return self._related("parent_id", parent_id, internal=internal)

    def published_attempts(self, id: str) -> Sequence[int]:
        """Return the retry number of each published attempt of a task, in order.

        Each message of the task that a monitor has seen is one attempt. The first has
        number 0. A task that replaced itself begins again at 0.

        Raises:
            DatabaseUnavailable: It cannot be reached or refuses.
        """
        attempt = _tables.attempt.c
        query = (
            select(attempt.retries)
            .where(attempt.task_id == id)
            .order_by(attempt.replaced, attempt.retries)
        )
        with self._connected() as connection:
            return connection.scalars(query).all()

    def newest_task(self) -> NewestTask | None:
        """Return when the newest task was published and seen, or None without tasks.

        Raises:
            DatabaseUnavailable: It cannot be reached or refuses.
        """
        with translate_errors(self.engine):
            return find_newest_task(self.engine)

    def count_recent(self) -> RecentCounts:
        """Count the tasks of the last hour, and the results without a task.

        Raises:
            DatabaseUnavailable: It cannot be reached, refuses, or takes more than five
                seconds.
        """
        with translate_errors(self.engine):
            return count_recent(self.engine)

    def count_quarantined(self) -> int:
        """Count the messages in quarantine.

        Raises:
            DatabaseUnavailable: It cannot be reached or refuses.
        """
        query = select(func.count()).select_from(_tables.quarantine)
        with self._connected() as connection:
            return connection.execute(query).scalar_one()

    def quarantine_reasons(self, *, limit: int = 50) -> Sequence[str]:
        """Return why messages are in quarantine, the newest message first.

        Args:
            limit: Most messages to look at.

        Raises:
            DatabaseUnavailable: It cannot be reached or refuses.
        """
        quarantine = _tables.quarantine.c
        query = select(quarantine.reason).order_by(quarantine.id.desc()).limit(limit)
        with self._connected() as connection:
            return connection.scalars(query).all()

    def _related(self, column: str, id: str, *, internal: bool) -> Sequence[Task]:
        id = jsonable(id)
        with self._snapshot() as connection:
            tasks = _read(connection, _search.related(connection, column, id))
        found = [task for task in tasks if getattr(task, column) == id]
        return _oldest_first(found, internal=internal)

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
        """Yield a connection to which all statements show the same tasks."""
        with translate_errors(self.engine), self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
                # A query that it takes for long it would compile first, for longer.
                connection.execute(text("SET LOCAL jit = off"))
            yield connection


def _read(connection: Connection, ids: Sequence[str]) -> Sequence[Task]:
    """Return tasks in the order of their ids."""
    found: dict[str, Task] = {}
    for start in range(0, len(ids), IDS):
        some = ids[start : start + IDS]
        rows = connection.execute(_tasks.where(_view.c.id.in_(some))).mappings()
        found |= {task.id: task for task in (_task(**row) for row in rows)}
    return [found[id] for id in ids if id in found]


def _oldest_first(found: Sequence[Task], *, internal: bool) -> Sequence[Task]:
    last = datetime.max.replace(tzinfo=UTC)
    shown = (task for task in found if internal or not task.internal)
    return sorted(shown, key=lambda task: (task.scheduled_at or last, task.id))


def _task(*, stored: bytes | None, **row: Any) -> Task:
    result = None if row["status"] == states.STARTED else _decode(stored)
    return Task(**row, result=result)


def _decode(stored: bytes | None) -> Any:
    """Decode a result exactly; the view cannot hold all that JSON of Python's can."""
    try:
        return None if stored is None else jsonable(json.loads(bytes(stored)))
    except (ValueError, RecursionError):
        return None  # a pickle of an older release, which nothing reads
