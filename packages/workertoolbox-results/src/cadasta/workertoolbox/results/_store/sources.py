"""Queries that search for tasks in one table each.

Each query returns tasks sorted by age, and a limited number of them.

If a condition needs a row of another table, a scalar subquery looks it up by its index.
PostgreSQL may execute a join by reading the whole other table instead, if it
overestimates how many tasks are queued, or how many results are untracked.

Finding tasks without a result, or results without a message, would take a search of the
whole history. Therefore a monitor copies their ids to `workertoolbox_queued` and
`workertoolbox_untracked`, up to a watermark. Newer ones are searched for in the tables
themselves. See `_history/watermark.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from cadasta.workertoolbox.results._database.statuses import QUEUED, STATUSES
from cadasta.workertoolbox.results._database.tables import (
    ended,
    planned,
    queued,
    task,
    taskmeta,
    untracked,
    watermark,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.watermark import (
    due_at,
    has_message,
    has_message_or_result,
    has_result,
)
from cadasta.workertoolbox.results._store.filters import (
    Condition,
    Filters,
    message_conditions,
    name_and_queue_conditions,
    result_conditions,
)

#: An instant before every task.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DatedId(NamedTuple):
    """The id of a task, and the instant that it is sorted by."""

    at: datetime
    id: str


class Watermark(NamedTuple):
    """The instants up to which the copies are complete.

    Attributes:
        seen_at: `workertoolbox_queued` is complete for messages seen until then.
        stored_at: `workertoolbox_untracked` is complete for results stored until then.
    """

    seen_at: datetime
    stored_at: datetime


def merge_ids(
    sources: Iterable[Sequence[DatedId]], limit: int, *, newest_first: bool = False
) -> list[str]:
    """Merge sorted sources, and return the first ids without duplicates."""
    merged = merge(*sources, key=lambda found: found.at, reverse=newest_first)
    return list(islice(dict.fromkeys(found.id for found in merged), limit))


def _fetch(connection: Connection, query: Select[Any], limit: int) -> Sequence[DatedId]:
    """Return the first rows of a query that selects a date and an id."""
    return [
        DatedId(at if at.tzinfo else at.replace(tzinfo=UTC), id)
        for at, id in connection.execute(query.limit(limit))
    ]


def find_tracked(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[DatedId]:
    """Return tasks with a message, newest first."""
    query = select(task.c.scheduled_at, task.c.id).where(*message_conditions(filters))
    if filters.status is not None:
        stored = select(taskmeta.c.status).where(taskmeta.c.task_id == task.c.id)
        end = select(ended.c.status).where(ended.c.task_id == task.c.id)
        status = func.coalesce(stored.scalar_subquery(), end.scalar_subquery())
        query = query.where(status == filters.status)
    return _fetch(connection, query.order_by(task.c.scheduled_at.desc()), limit)


def find_untracked_below_watermark(
    connection: Connection, filters: Filters, limit: int, *, since: datetime
) -> Sequence[DatedId]:
    """Return results without a message that have been copied, newest first."""
    columns = untracked.c
    result = select(taskmeta.c.status).where(taskmeta.c.task_id == columns.task_id)
    status = result.scalar_subquery()
    has_status = (
        status.is_not(None) if filters.status is None else status == filters.status
    )
    query = (
        select(columns.date_done, columns.task_id)
        .where(columns.date_done >= naive_utc(since), ~has_message(columns.task_id))
        .where(*name_and_queue_conditions(filters, columns.name, columns.queue))
        .where(has_status)
        .order_by(columns.date_done.desc())
    )
    return _fetch(connection, query, limit)


def find_queued(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[Sequence[DatedId]]:
    """Return `QUEUED` or `SCHEDULED` tasks, as the filters say, newest first."""
    now = datetime.now(UTC)
    eta = task.c.eta
    has_status = (
        or_(eta.is_(None), eta <= now) if filters.status == QUEUED else eta > now
    )
    conditions = [has_status, *message_conditions(filters)]
    below_watermark = (
        select(queued.c.scheduled_at, queued.c.task_id)
        .where(_has_message_where(queued.c.task_id, conditions))
        .where(~has_result(queued.c.task_id))
        .order_by(queued.c.scheduled_at.desc())
    )
    above_watermark = _select_queued_above_watermark(
        connection, task.c.scheduled_at, conditions, newest_first=True
    )
    return [
        _fetch(connection, query, limit) for query in (below_watermark, above_watermark)
    ]


def find_due(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Sequence[Sequence[DatedId]]:
    """Return tasks without a result that could run before an instant, oldest first."""
    conditions = [due_at < before, *message_conditions(filters)]
    below_watermark = (
        select(queued.c.due_at, queued.c.task_id)
        .where(queued.c.due_at < before)
        .where(_has_message_where(queued.c.task_id, conditions))
        .where(~has_result(queued.c.task_id))
        .order_by(queued.c.due_at)
    )
    above_watermark = _select_queued_above_watermark(connection, due_at, conditions)
    return [
        _fetch(connection, query, limit) for query in (below_watermark, above_watermark)
    ]


def _select_queued_above_watermark(
    connection: Connection,
    at: ColumnElement[datetime],
    conditions: Sequence[Condition],
    *,
    newest_first: bool = False,
) -> Select[Any]:
    """Return a query for tasks without a result that were seen after the watermark.

    Args:
        at: The instant by which the tasks are sorted.
        conditions: Further conditions that the tasks have to meet.
        newest_first: Whether to sort in descending order.
    """
    found = (
        select(at.label("at"), task.c.id)
        .where(
            task.c.seen_at > read_watermark(connection).seen_at,
            ~has_result(task.c.id),
            *conditions,
        )
        .cte("above_watermark")
        # Few rows are above the watermark. If they were not materialized, PostgreSQL
        # might read the whole history in the order of an index instead.
        .prefix_with("MATERIALIZED")
    )
    order = found.c.at.desc() if newest_first else found.c.at
    return select(found.c.at, found.c.id).order_by(order)


def find_started(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Iterator[Sequence[DatedId]]:
    """Yield tasks that have run since before an instant, oldest first.

    They are `STARTED`, or in a custom state such as `PROGRESS`, which a running task
    may store again and again.
    """
    for query in _select_state(filters, states.STARTED, before):
        yield _fetch(connection, query, limit)
    for state in _custom_states(connection):
        for query in _select_running(filters, state, before):
            yield _fetch(connection, query, limit)


def _custom_states(connection: Connection) -> Iterator[str]:
    """Yield the states of tasks that are not Celery's, by a look into an index each."""
    status = taskmeta.c.status
    in_partial_index = status != states.SUCCESS
    query = select(status).where(in_partial_index).order_by(status).limit(1)
    state = connection.scalar(query)
    while state is not None:
        if state not in STATUSES:
            yield state
        state = connection.scalar(query.where(status > state))


def _select_running(
    filters: Filters, state: str, before: datetime
) -> Iterator[Select[Any]]:
    """Yield queries for tasks in a custom state that started before an instant.

    A task without a start counts from its state.
    """
    started_at, stored_at = taskmeta.c.started_at, taskmeta.c.date_done
    for conditions in result_conditions(replace(filters, status=state)):
        yield (
            select(started_at, taskmeta.c.task_id)
            .where(started_at < before, *conditions)
            .order_by(started_at)
        )
        yield (
            select(stored_at, taskmeta.c.task_id)
            .where(stored_at < naive_utc(before), *conditions)
            .where(started_at.is_(None))
            .order_by(stored_at)
        )


def find_to_be_retried(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Iterator[Sequence[DatedId]]:
    """Yield tasks that have been in `RETRY` since before an instant, oldest first.

    Those whose ETA is later are left out.
    """
    has_later_eta = _has_message_where(taskmeta.c.task_id, [task.c.eta >= before])
    for query in _select_state(filters, states.RETRY, before):
        yield _fetch(connection, query.where(~has_later_eta), limit)


def _select_state(
    filters: Filters, state: str, before: datetime
) -> Iterator[Select[Any]]:
    """Yield queries for tasks that have had a state since before an instant."""
    stored_at = taskmeta.c.date_done
    for conditions in result_conditions(replace(filters, status=state)):
        yield (
            select(stored_at, taskmeta.c.task_id)
            .where(stored_at < naive_utc(before), *conditions)
            .order_by(stored_at)
        )


def find_results(
    connection: Connection,
    conditions: Iterable[Condition],
    limit: int,
    *,
    since: datetime = EPOCH,
) -> Sequence[DatedId]:
    """Return results by their latest state, newest first."""
    stored_at = taskmeta.c.date_done
    query = select(stored_at, taskmeta.c.task_id).where(
        stored_at >= naive_utc(since), *conditions
    )
    return _fetch(connection, query.order_by(stored_at.desc()), limit)


def find_undated_results(
    connection: Connection, conditions: Iterable[Condition], limit: int
) -> list[str]:
    """Return ids of results whose `date_done` is NULL."""
    if limit <= 0:
        return []
    query = select(taskmeta.c.task_id).where(
        taskmeta.c.date_done.is_(None), *conditions
    )
    return [str(id) for id in connection.scalars(query.limit(limit))]


def find_planned(connection: Connection, filters: Filters, limit: int) -> list[str]:
    """Return ids of steps that are not published yet, the latest announced first."""
    if filters.queue is not None or limit <= 0:
        return []  # The queue of a step is not known yet.
    query = (
        select(planned.c.id)
        .where(~has_message_or_result(planned.c.id))
        .where(*name_and_queue_conditions(filters, planned.c.name, planned.c.name))
        .order_by(planned.c.seen_at.desc())
    )
    return [str(id) for id in connection.scalars(query.limit(limit))]


def read_watermark(connection: Connection) -> Watermark:
    """Return the instants up to which the copies are complete.

    Queries contain them as values, not as a join, so that PostgreSQL can estimate how
    few rows are above them.
    """
    seen_at, stored_at = connection.execute(
        select(watermark.c.seen_at, watermark.c.date_done)
    ).one()
    return Watermark(seen_at, stored_at.replace(tzinfo=UTC))


def _has_message_where(
    task_id: ColumnElement[str], conditions: Sequence[Condition]
) -> Condition:
    """Return the condition that a task has a message, and the message meets others."""
    message = select(task.c.id).where(task.c.id == task_id, *conditions)
    return message.scalar_subquery().is_not(None)
