"""SQL conditions that tell what is known of a task: its message, result, or end.

Each is a scalar subquery, which uses an index for each task. For a join, PostgreSQL
might read the whole other table.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, ScalarSelect, func, select

from cadasta.workertoolbox.results._database.tables import ended, task, taskmeta


def has_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a task has a result, in any state, or has had one."""
    return func.coalesce(_result(task_id), _end(task_id)).is_not(None)


def has_stored_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that the result of a task is stored, and not deleted."""
    return _result(task_id).is_not(None)


def has_message(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a monitor has seen the message of a task."""
    return _message(task_id).is_not(None)


def has_message_or_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition that a task has a message, a result, or both."""
    # One condition instead of two with OR, for which the planner would expect hardly
    # any rows to be left.
    known = func.coalesce(_message(task_id), _result(task_id), _end(task_id))
    return known.is_not(None)


def shown_status(task_id: ColumnElement[str]) -> ColumnElement[Any]:
    """Return the status of a task's result, or of its end if the result was deleted.

    It is NULL for a task that no worker has begun, or that was published again since.
    """
    stored = select(taskmeta.c.status).where(taskmeta.c.task_id == task_id)
    return func.coalesce(stored.scalar_subquery(), end_status(task_id))


def end_status(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    """Return the status of a task whose result was deleted, unless it is queued again.

    It does not say whether the task has a new result.
    """
    return _end(task_id, ended.c.status)


def is_latest_end() -> ColumnElement[bool]:
    """Return a condition that the end in a row of `ended` is what a task shows.

    It is not if the task has a result again, or was published again.
    """
    again = select(task.c.id).where(
        task.c.id == ended.c.task_id, task.c.published_at > ended.c.published_at
    )
    newer = func.coalesce(_result(ended.c.task_id), again.scalar_subquery())
    return newer.is_(None)


def _result(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    found = select(taskmeta.c.task_id).where(taskmeta.c.task_id == task_id)
    return found.scalar_subquery()


def _end(
    task_id: ColumnElement[str], column: Column[Any] = ended.c.task_id
) -> ScalarSelect[Any]:
    """Return a column of the end of a task, unless the task is queued again."""
    later = task.alias()
    is_again = select(later.c.id).where(
        later.c.id == ended.c.task_id, later.c.published_at > ended.c.published_at
    )
    found = select(column).where(ended.c.task_id == task_id, ~is_again.exists())
    return found.scalar_subquery()


def _message(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    return select(task.c.id).where(task.c.id == task_id).scalar_subquery()
