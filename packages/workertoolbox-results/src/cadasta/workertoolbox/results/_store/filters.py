"""The filters of a query, and their SQL conditions on each table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery.states import SUCCESS
from sqlalchemy import ColumnElement, SQLColumnExpression, Table, func, select

from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH, task
from cadasta.workertoolbox.results._store.task import INTERNAL

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of a query; a task has to match all that are not None.

    Attributes:
        name: Name of the task.
        status: One of `STATUSES`, or a custom state.
        queue: Work queue of the task.
        worker: Worker that ran the task, such as `celery@host`.
        internal: Whether to include Celery's own tasks, `celery.*`. With `name` they
            are always included.
    """

    name: str | None = None
    status: str | None = None
    queue: str | None = None
    worker: str | None = None
    internal: bool = False

    @property
    def by_latest_state(self) -> bool:
        """Whether the tasks are searched for in the results, by their latest state.

        They are if a worker is given, or a stored state other than `SUCCESS`. Few tasks
        have such a state, and they may be anywhere in the history.
        """
        usual = (*BEFORE_RESULT, SUCCESS, None)
        return self.worker is not None or self.status not in usual


def message_conditions(filters: Filters) -> Iterator[Condition]:
    """Yield conditions on `workertoolbox_task`, by name and queue."""
    yield from name_and_queue_conditions(filters, task.c.name, task.c.queue)


def untracked_conditions(filters: Filters, states: Table) -> Iterator[Condition]:
    """Yield conditions on a table of states for tasks without a message."""
    yield from name_and_queue_conditions(filters, states.c.name, states.c.queue)
    if filters.status is not None:
        yield states.c.status == filters.status


def state_conditions(filters: Filters, states: Table) -> Iterator[Sequence[Condition]]:
    """Yield alternatives: sequences of conditions on a table of states.

    A state matches if it meets every condition of one sequence. Each sequence is meant
    for a query of its own, so that each can use an index; one query with an OR could
    not.

    Name and queue are those that the worker stored, or else those of the message.

    Args:
        states: `celery_taskmeta` or `workertoolbox_ended`, which have the same indexes.
    """
    state = states.c
    name = func.coalesce(state.name, _message_column("name", state.task_id))
    queue = func.coalesce(state.queue, _message_column("queue", state.task_id))
    wanted: list[Condition] = []
    if filters.worker is not None:
        wanted.append(state.worker == filters.worker)
    if filters.status is not None:
        wanted.append(state.status == filters.status)
    conditions = [*wanted, *name_and_queue_conditions(filters, name, queue)]
    if filters.status in (None, SUCCESS):
        yield conditions
        return
    in_partial_index = state.status != SUCCESS  # Written as in the indexes.
    if filters.name is None:
        yield [in_partial_index, *conditions]
        return
    has_stored_name = state.name == filters.name[:NAME_LENGTH]
    without_name = replace(filters, name=None, internal=True)
    others = name_and_queue_conditions(without_name, name, queue)
    yield [in_partial_index, has_stored_name, *wanted, *others]
    yield [in_partial_index, state.name.is_(None), *conditions]


def _message_column(column: str, task_id: ColumnElement[str]) -> ColumnElement[Any]:
    """Return a column of the message of a task."""
    return select(task.c[column]).where(task.c.id == task_id).scalar_subquery()


def name_and_queue_conditions(
    filters: Filters, name: SQLColumnExpression[Any], queue: SQLColumnExpression[Any]
) -> Iterator[Condition]:
    """Yield conditions on two columns of any table, the name and the queue."""
    if filters.name is not None:
        yield name == filters.name
    if filters.queue is not None:
        yield queue == filters.queue
    if filters.name is None and not filters.internal:
        yield ~is_internal(name)


def has_message_where(
    task_id: ColumnElement[str], conditions: Sequence[Condition]
) -> Condition:
    """Return the condition that a task has a message, and the message meets others."""
    message = select(task.c.id).where(task.c.id == task_id, *conditions)
    return message.scalar_subquery().is_not(None)


def is_internal(name: SQLColumnExpression[Any]) -> Condition:
    """Return the condition that a name belongs to one of Celery's own tasks."""
    # Not LIKE, which ignores case in SQLite.
    return func.substr(func.coalesce(name, ""), 1, len(INTERNAL)) == INTERNAL
