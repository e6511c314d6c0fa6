"""SQL conditions on tasks: whether they have a message or a result.

Most are scalar subqueries, which use an index for each task. For a join, PostgreSQL
might read the whole other table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, func, select, text, true

from cadasta.workertoolbox.results._database.tables import IS_UNARCHIVED, task, taskmeta


def has_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a task has a result, in any state."""
    # PostgreSQL estimates that `IS TRUE` holds for half of all rows, and `IS NULL` for
    # one in 200. With the latter, it would sort all live tasks that match, instead of
    # reading the first ones in the order of an index.
    found = select(true()).where(taskmeta.c.task_id == task_id)
    return found.scalar_subquery().is_(true())


def has_message(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a live task has a message."""
    return _message(task_id).is_not(None)


def has_message_or_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a task has a message, a result, or both."""
    # One condition instead of two with OR, for which the planner would expect hardly
    # any rows to be left.
    return func.coalesce(_message(task_id), _result(task_id)).is_not(None)


def is_live(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a task is live, so that its history is outdated."""
    message = select(true()).where(task.c.id == task_id)
    unarchived = select(true()).where(
        taskmeta.c.task_id == task_id, taskmeta.c.archived_at.is_(None)
    )
    # For the reason given in `has_result`. Hardly any task of the history is live, but
    # PostgreSQL would sort all those that match a search.
    return func.coalesce(message.scalar_subquery(), unarchived.scalar_subquery()).is_(
        true()
    )


def has_ended_with(
    task_id: ColumnElement[str], statuses: Collection[str]
) -> ColumnElement[bool]:
    """Return a condition that a task has ended with a status, and is not archived.

    There are few such tasks, and an index has them. So they are read first, instead of
    looking up each task of a backlog.
    """
    ended = select(taskmeta.c.task_id).where(
        text(IS_UNARCHIVED), taskmeta.c.status.in_(sorted(statuses))
    )
    return task_id.in_(ended)


def _result(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    found = select(taskmeta.c.task_id).where(taskmeta.c.task_id == task_id)
    return found.scalar_subquery()


def _message(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    return select(task.c.id).where(task.c.id == task_id).scalar_subquery()
