"""The rules by which rows of tasks, groups, chords and other tables expire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    and_,
    or_,
    select,
    true,
)

from cadasta.workertoolbox.results._database.statuses import ENDED, PLANNED, QUEUED
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    chord,
    chord_part,
    history,
    operation,
    operation_task,
    planned,
    quarantine,
    task,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import (
    has_message,
    has_message_or_result,
    is_live,
)
from cadasta.workertoolbox.results._history.days import Day, day_of_end
from cadasta.workertoolbox.results._history.expiry_rule import (
    CHORDS,
    EVERYWHERE,
    GROUPS,
    OPERATIONS,
    QUARANTINED,
    TASKS,
    ExpiryRule,
)
from cadasta.workertoolbox.results._history.retention import DEFAULT, Retention


def age_rules(
    before: datetime,
    *,
    days: Iterable[Day] | None,
    status: str | None = None,
    name: str | None = None,
) -> Iterator[ExpiryRule]:
    """Yield the rules for rows that are older than an instant, those for tasks first.

    Groups, chords, quarantined messages and operations have neither status nor name, so
    their rules are left out if one is given.

    Args:
        days: The days of the history that are searched, or None if it is one table.
    """
    if status is None and name is None:
        yield _archived_results(before)
    if status != PLANNED:
        yield _live_tasks(before, status, name)
    if status not in (PLANNED, QUEUED):
        yield _untracked_results(before, status, name)
    if status in (None, *ENDED):
        yield from _ended_tasks(before, days, status, name)
    if status in (None, PLANNED):
        yield _planned_steps(before, name)
    if status is None and name is None:
        yield _groups(before)
        yield _chords(before)
        yield _quarantined_messages(before)
        yield _operations(before)


def class_rules(retention: Retention, today: date) -> Iterator[ExpiryRule]:
    """Yield the rules for the classes of the history, where it is one table.

    Args:
        today: The date in UTC.
    """
    keep = history.c.keep
    of_default = keep.not_in(sorted(retention.keeps))
    for name in (DEFAULT, *sorted(retention.keeps)):
        last_day = retention.last_day(name, today)
        if last_day is not None:
            of_class = of_default if name == DEFAULT else keep == name
            yield _history_rule(and_(of_class, history.c.day <= last_day))


def _ended_tasks(
    before: datetime,
    days: Iterable[Day] | None,
    status: str | None,
    name: str | None,
) -> Iterator[ExpiryRule]:
    """Yield the rules for tasks of the history, one for each table.

    The age of a task is that of its day. On the day of the instant, the end of the task
    counts.
    """
    before = before.astimezone(UTC)
    today = datetime.now(UTC).date()
    last_day = day_of_end(before, since=before, today=today)
    is_old = or_(
        history.c.day < before.date(),
        and_(history.c.day <= last_day, history.c.finished_at < before),
    )
    expired = and_(is_old, _has_name(history.c.name, name))
    if status is not None:
        expired = and_(expired, history.c.status == status)
    if days is None:
        yield _history_rule(expired)
        return
    for keep, day in sorted(days, key=lambda each: (each.day, each.keep)):
        if day <= last_day:
            scope = and_(history.c.keep == keep, history.c.day == day)
            yield _history_rule(expired, scope)


def _history_rule(
    expired: ColumnElement[bool], scope: ColumnElement[bool] = EVERYWHERE
) -> ExpiryRule:
    """Return a rule for tasks of the history, except tasks that are live again."""
    id = history.c.id
    expired = and_(scope, expired)
    return ExpiryRule(
        kind=TASKS,
        order=(id,),
        expired=expired,
        deletable=select(id).where(expired, ~is_live(id)),
        columns=(id,),
        unlocked=(taskmeta.c.task_id, planned.c.id),
        scope=scope,
    )


def _archived_results(before: datetime) -> ExpiryRule:
    """Return the rule for results of tasks of the history."""
    id = taskmeta.c.task_id
    expired = and_(
        taskmeta.c.date_done < naive_utc(before), taskmeta.c.archived_at.is_not(None)
    )
    return ExpiryRule(
        kind=None,
        order=(taskmeta.c.date_done, id),
        expired=expired,
        deletable=select(id).where(expired),
        columns=(id,),
    )


def _live_tasks(before: datetime, status: str | None, name: str | None) -> ExpiryRule:
    """Return the rule for tasks that were published, and due, before an instant.

    A task that ended later is kept: it is not archived yet.
    """
    id = task.c.id
    result = select(taskmeta.c.id).where(taskmeta.c.task_id == id).correlate(task)
    ended_later = result.where(
        taskmeta.c.status.in_(ENDED), taskmeta.c.date_done >= naive_utc(before)
    )
    expired = and_(task.c.scheduled_at < before, _has_name(task.c.name, name))
    due = or_(task.c.eta.is_(None), task.c.eta < before)
    deletable = select(id).where(expired, due, ~ended_later.exists())
    columns = [id, attempt.c.task_id, planned.c.id]
    if status == QUEUED:
        # A result that arrives meanwhile stays: its task is not queued any more.
        deletable = deletable.where(~result.exists())
    else:
        columns.append(taskmeta.c.task_id)
    if status not in (None, QUEUED):
        deletable = deletable.join(taskmeta, taskmeta.c.task_id == id).where(
            taskmeta.c.status == status
        )
    if status is not None:
        # The end of an earlier run would be shown in place of the message.
        columns.append(history.c.id)
    return ExpiryRule(
        kind=TASKS,
        order=(task.c.scheduled_at, id),
        expired=expired,
        deletable=deletable,
        columns=(*columns,),
    )


def _untracked_results(
    before: datetime, status: str | None, name: str | None
) -> ExpiryRule:
    """Return the rule for results of live tasks that no monitor has seen."""
    id = taskmeta.c.task_id
    expired = and_(
        taskmeta.c.date_done < naive_utc(before),
        taskmeta.c.archived_at.is_(None),
        _has_name(taskmeta.c.name, name),
    )
    deletable = select(id).where(expired, ~has_message(id))
    if status is not None:
        deletable = deletable.where(taskmeta.c.status == status)
    return ExpiryRule(
        kind=TASKS,
        order=(taskmeta.c.date_done, id),
        expired=expired,
        deletable=deletable,
        columns=(id,),
        unlocked=(planned.c.id,),
    )


def _planned_steps(before: datetime, name: str | None) -> ExpiryRule:
    """Return the rule for steps that were announced but never published."""
    id = planned.c.id
    expired = and_(planned.c.seen_at < before, _has_name(planned.c.name, name))
    return ExpiryRule(
        kind=TASKS,
        order=(planned.c.seen_at, id),
        expired=expired,
        deletable=select(id).where(expired, ~has_message_or_result(id)),
        columns=(id,),
    )


def _groups(before: datetime) -> ExpiryRule:
    id = tasksetmeta.c.taskset_id
    expired = tasksetmeta.c.date_done < naive_utc(before)
    return ExpiryRule(
        kind=GROUPS,
        order=(tasksetmeta.c.date_done, id),
        expired=expired,
        deletable=select(id).where(expired),
        columns=(id,),
    )


def _chords(before: datetime) -> ExpiryRule:
    """Return the rule for chords that have not changed since an instant."""
    expired = chord.c.touched_at < before
    deletable = select(chord.c.id).where(expired)
    return ExpiryRule(
        kind=CHORDS,
        order=(chord.c.id,),
        expired=expired,
        deletable=deletable,
        columns=(chord.c.id, chord_part.c.chord_id),
    )


def _quarantined_messages(before: datetime) -> ExpiryRule:
    id = quarantine.c.id
    expired = quarantine.c.seen_at < before
    return ExpiryRule(
        kind=QUARANTINED,
        order=(id,),
        expired=expired,
        deletable=select(id).where(expired),
        columns=(id,),
    )


def _operations(before: datetime) -> ExpiryRule:
    """Return the rule for operations that were begun before an instant."""
    id = operation.c.id
    expired = operation.c.started_at < before
    return ExpiryRule(
        kind=OPERATIONS,
        order=(operation.c.started_at, id),
        expired=expired,
        deletable=select(id).where(expired),
        columns=(id, operation_task.c.operation_id),
    )


def _has_name(column: Column[Any], name: str | None) -> ColumnElement[bool]:
    return true() if name is None else column == name
