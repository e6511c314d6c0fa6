"""The filters of a query, and their SQL conditions on each table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery.states import SUCCESS
from sqlalchemy import (
    ColumnElement,
    Connection,
    SQLColumnExpression,
    TextClause,
    func,
    select,
    text,
)

from cadasta.workertoolbox.results._database.statuses import (
    BEFORE_RESULT,
    ENDED,
    PSEUDO_TASKS,
)
from cadasta.workertoolbox.results._database.tables import (
    IS_UNUSUAL,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._task import INTERNAL

Condition = ColumnElement[bool] | TextClause


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of a query; a task has to match all that are not None.

    Attributes:
        name: Name of the task.
        status: One of `STATUSES`, or a custom state.
        queue: Work queue of the task.
        worker: Worker that ran the task, such as `celery@host`.
        error_group: Key of the group of its error.
        internal: Whether to include Celery's own tasks, `celery.*`. With `name` they
            are always included.
    """

    name: str | None = None
    status: str | None = None
    queue: str | None = None
    worker: str | None = None
    error_group: str | None = None
    internal: bool = False

    @property
    def by_latest_state(self) -> bool:
        """Whether the tasks are sorted by the time of their latest state.

        This is the case with a worker, an error group, or a stored state other than
        `SUCCESS`: few tasks match, and they may be anywhere in the history.
        """
        usual = (*BEFORE_RESULT, SUCCESS, None)
        is_of_run = self.worker is not None or self.error_group is not None
        return is_of_run or self.status not in usual

    @property
    def may_have_ended(self) -> bool:
        """Whether a task that matches may have ended, and may be in the history."""
        return self.status is None or self.status in ENDED


def message_conditions(filters: Filters) -> Iterator[Condition]:
    """Yield conditions on `workertoolbox_task`, by name and queue."""
    yield from name_and_queue_conditions(filters, task.c.name, task.c.queue)


def untracked_conditions(filters: Filters) -> Iterator[Condition]:
    """Yield conditions on `celery_taskmeta`, by the name and queue in the result."""
    result = taskmeta.c
    yield from name_and_queue_conditions(filters, result.name, result.queue)
    yield func.coalesce(result.name, "").not_in(PSEUDO_TASKS)


def state_conditions(filters: Filters) -> Iterator[Condition]:
    """Yield conditions on `celery_taskmeta`, by all filters except the status.

    Name and queue are those that the worker stored, or else those of the message.
    """
    result = taskmeta.c
    if filters.worker is not None:
        yield result.worker == filters.worker
    if filters.error_group is not None:
        yield result.error_group == filters.error_group
    name = func.coalesce(result.name, _message_column("name"))
    queue = func.coalesce(result.queue, _message_column("queue"))
    yield from name_and_queue_conditions(filters, name, queue)
    yield func.coalesce(result.name, "").not_in(PSEUDO_TASKS)


def of_partial_index(connection: Connection) -> Iterator[Condition]:
    """Yield the condition of the history's index on unusual statuses, for SQLite.

    PostgreSQL concludes it from the status in another condition. With both, it expects
    a hundredth of the tasks that there are, and sorts them all instead of reading the
    newest ones.
    """
    if connection.dialect.name == "sqlite":
        yield text(IS_UNUSUAL)  # As text: SQLite compares it with that of the index.


def history_conditions(connection: Connection, filters: Filters) -> Iterator[Condition]:
    """Yield conditions on `workertoolbox_history`, by all filters."""
    ended = history.c
    for name in ("status", "worker", "error_group"):
        value = getattr(filters, name)
        if value is not None:
            yield ended[name] == value
    if filters.status not in (None, SUCCESS):
        yield from of_partial_index(connection)
    yield from name_and_queue_conditions(filters, ended.name, ended.queue)


def name_and_queue_conditions(
    filters: Filters, name: SQLColumnExpression[Any], queue: SQLColumnExpression[Any]
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on two columns of any table, the name and the queue."""
    if filters.name is not None:
        yield name == filters.name
    if filters.queue is not None:
        yield queue == filters.queue
    if filters.name is None and not filters.internal:
        yield ~is_internal(name)


def has_message_where(conditions: Sequence[ColumnElement[bool]]) -> Condition:
    """Return the condition that a result has a message that meets conditions."""
    return _message_column("id", *conditions).is_not(None)


def is_internal(name: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    """Return the condition that a name belongs to one of Celery's own tasks."""
    # Not LIKE, which ignores case in SQLite.
    return func.substr(func.coalesce(name, ""), 1, len(INTERNAL)) == INTERNAL


def _message_column(
    column: str, *conditions: ColumnElement[bool]
) -> ColumnElement[Any]:
    """Return a column of the message of the task that a result belongs to."""
    message = select(task.c[column]).where(task.c.id == taskmeta.c.task_id)
    return message.where(*conditions).scalar_subquery()
