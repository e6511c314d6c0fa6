"""What is too old to keep, table by table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, or_, select, true

from cadasta.workertoolbox.results._database.statuses import PLANNED, QUEUED
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    chord,
    chord_part,
    planned,
    quarantine,
    queued,
    task,
    taskmeta,
    tasksetmeta,
    untracked,
)
from cadasta.workertoolbox.results._database.types import naive_utc

#: What the parts of a count are called.
TASKS = "tasks"
GROUPS = "groups"
CHORDS = "chords"
QUARANTINED = "messages in quarantine"


@dataclass(frozen=True)
class RetentionRule:
    """Rows of one table that go when they are old, with what belongs to them.

    Attributes:
        name: What they are called in a count.
        order: Columns of an index, in which they are looked through; the last is the
            id.
        aged: What they are looked through for, which that index finds.
        chosen: Those that go, by their id.
        columns: Where the id stands, in the order in which the rows are deleted.
    """

    name: str
    order: tuple[Column[Any], ...]
    expired: ColumnElement[bool]
    deletable: Select[tuple[str]]
    columns: tuple[Column[Any], ...]

    @property
    def id(self) -> Column[Any]:
        """The column of the id."""
        return self.order[-1]


def retention_rules(
    before: datetime, *, status: str | None = None, name: str | None = None
) -> Iterator[RetentionRule]:
    """Yield what is older, tasks before what else there may be of them.

    Groups, chords and the quarantine have neither status nor name: they go where
    neither is given.
    """
    if status != PLANNED:
        yield _tasks(before, status, name)
    if status not in (PLANNED, QUEUED):
        yield _results(before, status, name)
    if status in (None, PLANNED):
        yield _steps(before, name)
    if status is None and name is None:
        yield _groups(before)
        yield _chords(before)
        yield _unread(before)


def _tasks(before: datetime, status: str | None, name: str | None) -> RetentionRule:
    """Return tasks that were to run before, by their latest message."""
    expired = and_(task.c.scheduled_at < before, _named(task.c.name, name))
    due = or_(task.c.eta.is_(None), task.c.eta < before)
    deletable = select(task.c.id).where(expired, due)
    columns = [task.c.id, attempt.c.task_id, planned.c.id, queued.c.task_id]
    result = taskmeta.c.task_id == task.c.id
    if status == QUEUED:
        # A result that comes meanwhile is none of a task that is queued: it stays.
        deletable = deletable.where(~select(taskmeta.c.id).where(result).exists())
    else:
        columns.append(taskmeta.c.task_id)
        if status is not None:
            deletable = deletable.join(taskmeta, result).where(
                taskmeta.c.status == status
            )
    return RetentionRule(
        TASKS, (task.c.scheduled_at, task.c.id), expired, deletable, (*columns,)
    )


def _results(before: datetime, status: str | None, name: str | None) -> RetentionRule:
    """Return results that were stored before, and whose task no monitor has seen."""
    id = taskmeta.c.task_id
    expired = and_(
        taskmeta.c.date_done < naive_utc(before), _named(taskmeta.c.name, name)
    )
    deletable = select(id).where(
        expired, ~select(task.c.id).where(task.c.id == id).exists()
    )
    if status is not None:
        deletable = deletable.where(taskmeta.c.status == status)
    columns = (id, planned.c.id, untracked.c.task_id)
    return RetentionRule(TASKS, (taskmeta.c.date_done, id), expired, deletable, columns)


def _steps(before: datetime, name: str | None) -> RetentionRule:
    """Return steps that were announced before, and never came."""
    id = planned.c.id
    expired = and_(planned.c.seen_at < before, _named(planned.c.name, name))
    deletable = select(id).where(
        expired,
        ~select(task.c.id).where(task.c.id == id).exists(),
        ~select(taskmeta.c.id).where(taskmeta.c.task_id == id).exists(),
    )
    return RetentionRule(TASKS, (planned.c.seen_at, id), expired, deletable, (id,))


def _groups(before: datetime) -> RetentionRule:
    id = tasksetmeta.c.taskset_id
    expired = tasksetmeta.c.date_done < naive_utc(before)
    return RetentionRule(
        GROUPS, (tasksetmeta.c.date_done, id), expired, select(id).where(expired), (id,)
    )


def _chords(before: datetime) -> RetentionRule:
    """Return chords of which no task was done since."""
    expired = chord.c.touched_at < before
    deletable = select(chord.c.id).where(expired)
    return RetentionRule(
        CHORDS, (chord.c.id,), expired, deletable, (chord.c.id, chord_part.c.chord_id)
    )


def _unread(before: datetime) -> RetentionRule:
    id = quarantine.c.id
    expired = quarantine.c.seen_at < before
    return RetentionRule(QUARANTINED, (id,), expired, select(id).where(expired), (id,))


def _named(column: Column[Any], name: str | None) -> ColumnElement[bool]:
    return true() if name is None else column == name
