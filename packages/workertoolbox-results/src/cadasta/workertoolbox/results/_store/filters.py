"""Which tasks a query is about, and the conditions that say so of each source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery import states
from sqlalchemy import ColumnElement, SQLColumnExpression, func, select

from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH, task, taskmeta
from cadasta.workertoolbox.results._store.task import INTERNAL

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which tasks are asked for; all that is given has to fit.

    Attributes:
        internal: Whether Celery's own tasks, `celery.*`, are among them; the one that
            is named is in any case.
    """

    name: str | None = None
    status: str | None = None
    queue: str | None = None
    worker: str | None = None
    internal: bool = False

    @property
    def by_state(self) -> bool:
        """Whether the tasks are found by their latest state.

        Few are in one other than success, and those may be anywhere in the history.
        """
        usual = (*BEFORE_RESULT, states.SUCCESS, None)
        return self.worker is not None or self.status not in usual


def of_tasks(filters: Filters) -> Iterator[Condition]:
    """Yield conditions on tasks whose message a monitor has seen."""
    yield from named(filters, task.c.name, task.c.queue)


def of_untracked(filters: Filters) -> Iterator[Condition]:
    """Yield conditions on results whose message none has."""
    yield from named(filters, taskmeta.c.name, taskmeta.c.queue)
    if filters.status is not None:
        yield taskmeta.c.status == filters.status


def of_results(filters: Filters) -> Iterator[Sequence[Condition]]:
    """Yield conditions on results; all together are met by those that are asked for.

    Name and queue are those of the run; where it has stored none, of the message.
    """
    result = taskmeta.c
    name = func.coalesce(result.name, _of_message("name"))
    queue = func.coalesce(result.queue, _of_message("queue"))
    state: list[Condition] = []
    if filters.worker is not None:
        state.append(result.worker == filters.worker)
    if filters.status is not None:
        state.append(result.status == filters.status)
    conditions = [*state, *named(filters, name, queue)]
    if filters.status in (None, states.SUCCESS):
        yield conditions
        return
    partly = result.status != states.SUCCESS  # as the indexes have it
    if filters.name is None:
        yield [partly, *conditions]
        return
    # Either by itself is served by an index.
    of_run = result.name == filters.name[:NAME_LENGTH]
    others = named(replace(filters, name=None, internal=True), name, queue)
    yield [partly, of_run, *state, *others]
    yield [partly, result.name.is_(None), *conditions]


def _of_message(column: str) -> ColumnElement[Any]:
    found = select(task.c[column]).where(task.c.id == taskmeta.c.task_id)
    return found.scalar_subquery()


def named(
    filters: Filters, name: SQLColumnExpression[Any], queue: SQLColumnExpression[Any]
) -> Iterator[Condition]:
    """Yield conditions on a name and a queue."""
    if filters.name is not None:
        yield name == filters.name
    if filters.queue is not None:
        yield queue == filters.queue
    if filters.name is None and not filters.internal:
        yield ~is_internal(name)


def is_internal(name: SQLColumnExpression[Any]) -> Condition:
    """Return whether a name is that of one of Celery's own tasks."""
    # Not LIKE, to which upper and lower case are the same in SQLite.
    return func.substr(func.coalesce(name, ""), 1, len(INTERNAL)) == INTERNAL
