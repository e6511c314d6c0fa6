"""Typed queries over the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from celery import Celery, states
from sqlalchemy import Select, func, select

from cadasta.workertoolbox.results import _tables
from cadasta.workertoolbox.results._engine import (
    database_url,
    open_engine,
    reaching,
)
from cadasta.workertoolbox.results._errors import ResultsError, TaskNotFound
from cadasta.workertoolbox.results._schema import check_schema
from cadasta.workertoolbox.results._storable import storable
from cadasta.workertoolbox.results._task import Task

_view = _tables.tasks
_newest_first = (
    func.coalesce(_view.c.scheduled_at, _view.c.started_at, _view.c.finished_at)
    .desc()
    .nulls_last()
)

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
        return next(iter(self._fetch(_tasks.where(_view.c.id == storable(id)))), None)

    def list(
        self,
        *,
        limit: int = 50,
        name: str | None = None,
        status: str | None = None,
        queue: str | None = None,
        internal: bool = False,
    ) -> Sequence[Task]:
        """Return tasks, newest first.

        Args:
            limit: Most tasks to return.
            internal: Whether to include Celery's own tasks, `celery.*`.
        """
        query = _tasks.order_by(_newest_first).limit(limit)
        for column, wanted in (("name", name), ("status", status), ("queue", queue)):
            if wanted is not None:
                query = query.where(_view.c[column] == wanted)
        return self._fetch(query, internal=internal)

    def workflow(self, root_id: str, *, internal: bool = False) -> Sequence[Task]:
        """Return every task of the workflow that a task began, the oldest first."""
        query = _tasks.where(_view.c.root_id == root_id).order_by(
            _view.c.scheduled_at.nulls_last(), _view.c.id
        )
        return self._fetch(query, internal=internal)

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

    def _fetch(self, query: Select[Any], *, internal: bool = True) -> Sequence[Task]:
        if not internal:
            query = query.where(func.coalesce(_view.c.name, "").notlike("celery.%"))
        with reaching(self.engine), self.engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [_task(**row) for row in rows]


def _task(*, stored: bytes | None, **row: Any) -> Task:
    result = None if row["status"] == states.STARTED else _decode(stored)
    return Task(**row, result=result)


def _decode(stored: bytes | None) -> Any:
    """Decode a result exactly; the view cannot hold all that JSON of Python's can."""
    try:
        return None if stored is None else storable(json.loads(bytes(stored)))
    except (ValueError, RecursionError):
        return None  # a pickle of an older release, which nothing reads
