"""The rules by which tasks, groups, chords and quarantined messages expire."""

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
    ended,
    planned,
    quarantine,
    queued,
    task,
    taskmeta,
    tasksetmeta,
    untracked,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import (
    end_status,
    has_message,
    has_result,
    has_stored_result,
)

#: The kinds of rows that are counted, as the command prints them.
TASKS = "tasks"
GROUPS = "groups"
CHORDS = "chords"
QUARANTINED = "messages in quarantine"


@dataclass(frozen=True)
class RetentionRule:
    """A rule that says which rows of one table expire, and which rows go with them.

    Attributes:
        kind: Kind of the rows, for counts.
        order: Columns by which the rows are sorted. The first has an index, and the
            last is the id.
        expired: A condition for old rows, on columns of their table.
        deletable: A query for the ids of those expired rows that may be deleted.
        columns: The columns that contain the id, in the order in which their tables are
            deleted from.
    """

    kind: str
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
    """Yield the rules for rows that are older than an instant, those for tasks first.

    Groups, chords and quarantined messages have neither status nor name, so their rules
    are left out if one is given.
    """
    if status != PLANNED:
        yield _tasks(before, status, name)
    if status not in (None, PLANNED, QUEUED):
        yield _tasks(before, status, name, is_deleted=True)
    if status not in (PLANNED, QUEUED):
        yield _untracked_results(before, status, name)
        yield _ended_tasks(before, status, name)
    if status in (None, PLANNED):
        yield _planned_steps(before, name)
    if status is None and name is None:
        yield _groups(before)
        yield _chords(before)
        yield _quarantined_messages(before)


def _tasks(
    before: datetime, status: str | None, name: str | None, *, is_deleted: bool = False
) -> RetentionRule:
    """Return the rule for tasks that were published, and due, before an instant.

    Args:
        is_deleted: Whether the status is that of a result that was deleted.
    """
    expired = and_(task.c.scheduled_at < before, _has_name(task.c.name, name))
    due = or_(task.c.eta.is_(None), task.c.eta < before)
    deletable = select(task.c.id).where(expired, due)
    columns = [task.c.id, attempt.c.task_id, planned.c.id, queued.c.task_id]
    result = taskmeta.c.task_id == task.c.id
    if status == QUEUED:
        # A result that arrives meanwhile stays: its task is not queued any more. The
        # end of an earlier run goes: it would be shown in place of the message.
        deletable = deletable.where(~has_result(task.c.id))
        columns.append(ended.c.task_id)
    else:
        # Deleting a result inserts a row into `workertoolbox_ended`.
        columns += [taskmeta.c.task_id, ended.c.task_id]
        if status is not None and is_deleted:
            deletable = deletable.where(
                ~has_stored_result(task.c.id), end_status(task.c.id) == status
            )
        elif status is not None:
            deletable = deletable.join(taskmeta, result).where(
                taskmeta.c.status == status
            )
    return RetentionRule(
        TASKS, (task.c.scheduled_at, task.c.id), expired, deletable, (*columns,)
    )


def _untracked_results(
    before: datetime, status: str | None, name: str | None
) -> RetentionRule:
    """Return the rule for results of tasks that no monitor has seen."""
    id = taskmeta.c.task_id
    expired = and_(
        taskmeta.c.date_done < naive_utc(before), _has_name(taskmeta.c.name, name)
    )
    deletable = select(id).where(
        expired, ~select(task.c.id).where(task.c.id == id).exists()
    )
    if status is not None:
        deletable = deletable.where(taskmeta.c.status == status)
    columns = (id, planned.c.id, untracked.c.task_id, ended.c.task_id)
    return RetentionRule(TASKS, (taskmeta.c.date_done, id), expired, deletable, columns)


def _ended_tasks(
    before: datetime, status: str | None, name: str | None
) -> RetentionRule:
    """Return the rule for ended tasks that have neither a message nor a result."""
    id = ended.c.task_id
    expired = and_(ended.c.ended_at < before, _has_name(ended.c.name, name))
    deletable = select(id).where(expired, ~has_message(id), ~has_stored_result(id))
    if status is not None:
        deletable = deletable.where(ended.c.status == status)
    columns = (id, planned.c.id, untracked.c.task_id)
    return RetentionRule(TASKS, (ended.c.ended_at, id), expired, deletable, columns)


def _planned_steps(before: datetime, name: str | None) -> RetentionRule:
    """Return the rule for steps that were announced but never published."""
    id = planned.c.id
    expired = and_(planned.c.seen_at < before, _has_name(planned.c.name, name))
    deletable = select(id).where(
        expired,
        ~select(task.c.id).where(task.c.id == id).exists(),
        ~has_result(id),
    )
    return RetentionRule(TASKS, (planned.c.seen_at, id), expired, deletable, (id,))


def _groups(before: datetime) -> RetentionRule:
    id = tasksetmeta.c.taskset_id
    expired = tasksetmeta.c.date_done < naive_utc(before)
    return RetentionRule(
        GROUPS, (tasksetmeta.c.date_done, id), expired, select(id).where(expired), (id,)
    )


def _chords(before: datetime) -> RetentionRule:
    """Return the rule for chords that have not changed since an instant."""
    expired = chord.c.touched_at < before
    deletable = select(chord.c.id).where(expired)
    return RetentionRule(
        CHORDS, (chord.c.id,), expired, deletable, (chord.c.id, chord_part.c.chord_id)
    )


def _quarantined_messages(before: datetime) -> RetentionRule:
    id = quarantine.c.id
    expired = quarantine.c.seen_at < before
    return RetentionRule(QUARANTINED, (id,), expired, select(id).where(expired), (id,))


def _has_name(column: Column[Any], name: str | None) -> ColumnElement[bool]:
    return true() if name is None else column == name
