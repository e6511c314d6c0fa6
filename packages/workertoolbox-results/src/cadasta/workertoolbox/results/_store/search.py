"""The ids of the tasks that a query is about, found by indexes.

Each source is asked by itself, for no more than is shown: tasks whose message a monitor
has seen, results, and steps to come. Where a row of another table is needed, it is
looked up for each by a subquery; of a join a planner might read the other table as a
whole, when it takes more tasks to be queued, or more results untracked, than are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from celery import states
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    or_,
    select,
    union,
)

from cadasta.workertoolbox.results._database.statuses import (
    BEFORE_RESULT,
    PLANNED,
    QUEUED,
)
from cadasta.workertoolbox.results._database.tables import (
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
    named,
    of_results,
    of_tasks,
    of_untracked,
)


class _Found(NamedTuple):
    at: datetime
    id: str


class _Swept(NamedTuple):
    seen: datetime
    stored: datetime


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def newest(connection: Connection, filters: Filters, limit: int) -> Sequence[str]:
    """Return the ids of the newest tasks, in the order of `TaskStore.list`."""
    if filters.status in BEFORE_RESULT and filters.worker is not None:
        return []
    if filters.status == PLANNED:
        return _planned(connection, filters, limit)
    if filters.status in BEFORE_RESULT:
        sources = _waiting(connection, filters, limit)
        return _first(sources, limit, reverse=True)
    if filters.by_state:
        ways = [list(conditions) for conditions in of_results(filters)]
        sources = [_results(connection, each, limit) for each in ways]
        ids = _first(sources, limit, reverse=True)
        for each in ways:
            ids += _undated(connection, each, limit - len(ids))
        return ids
    tracked = _fetch(connection, _tracked(filters), limit)
    since = tracked[-1].at if len(tracked) == limit else _NEVER
    conditions = [*of_untracked(filters), ~has_message(taskmeta.c.task_id)]
    sources = [
        tracked,
        _kept_untracked(connection, filters, limit, since=since),
        _results(
            connection, conditions, limit, since=max(since, _swept(connection).stored)
        ),
    ]
    ids = _first(sources, limit, reverse=True)
    ids += _undated(connection, conditions, limit - len(ids))
    if filters.status is None:
        ids += _planned(connection, filters, limit - len(ids))
    return ids


def stuck(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Sequence[str]:
    """Return the ids of tasks that wait or run since before an instant, longest first.

    One that is to be retried waits since its error, or since its ETA.
    """
    waiting = [due_at < before, *of_tasks(filters)]
    kept = (
        select(queued.c.due_at, queued.c.task_id)
        .where(queued.c.due_at < before)
        .where(_has_message_like(queued.c.task_id, waiting))
        .where(~has_result(queued.c.task_id))
    )
    sources = [
        _fetch(connection, kept.order_by(queued.c.due_at), limit),
        _fetch(connection, _above_watermark(connection, due_at, waiting), limit),
    ]
    date = taskmeta.c.date_done
    ahead = _has_message_like(taskmeta.c.task_id, [task.c.eta >= before])
    for status in (states.STARTED, states.RETRY):
        for conditions in of_results(replace(filters, status=status)):
            query = select(date, taskmeta.c.task_id).where(
                date < naive_utc(before), *conditions
            )
            if status == states.RETRY:
                query = query.where(~ahead)
            sources.append(_fetch(connection, query.order_by(date), limit))
    return _first(sources, limit)


def related(connection: Connection, column: str, id: str) -> Sequence[str]:
    """Return the ids of tasks that may have a root, or a parent.

    Args:
        column: `root_id` or `parent_id`.
    """
    result = taskmeta.c
    since = naive_utc(_swept(connection).stored)
    new = [result[column] == id, ~has_message(result.task_id)]
    query = union(
        select(task.c.id).where(task.c[column] == id),
        select(planned.c.id).where(planned.c[column] == id),
        select(untracked.c.task_id).where(untracked.c[column] == id),
        select(result.task_id).where(result.date_done > since, *new),
        select(result.task_id).where(result.date_done.is_(None), *new),
    )
    return [str(id) for id in connection.scalars(query)]


def _tracked(filters: Filters) -> Select[Any]:
    query = select(task.c.scheduled_at, task.c.id).where(*of_tasks(filters))
    if filters.status is not None:
        status = select(taskmeta.c.status).where(taskmeta.c.task_id == task.c.id)
        query = query.where(status.scalar_subquery() == filters.status)
    return query.order_by(task.c.scheduled_at.desc())


def _kept_untracked(
    connection: Connection, filters: Filters, limit: int, *, since: datetime
) -> Sequence[_Found]:
    kept = untracked.c
    result = select(taskmeta.c.status).where(taskmeta.c.task_id == kept.task_id)
    status = result.scalar_subquery()
    query = (
        select(kept.date_done, kept.task_id)
        .where(kept.date_done >= naive_utc(since), ~has_message(kept.task_id))
        .where(*named(filters, kept.name, kept.queue))
        .where(
            status.is_not(None) if filters.status is None else status == filters.status
        )
        .order_by(kept.date_done.desc())
    )
    return _fetch(connection, query, limit)


def _waiting(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[Sequence[_Found]]:
    now = datetime.now(UTC)
    ahead = task.c.eta > now
    if filters.status == QUEUED:
        ahead = or_(task.c.eta.is_(None), task.c.eta <= now)
    conditions = [ahead, *of_tasks(filters)]
    kept = (
        select(queued.c.scheduled_at, queued.c.task_id)
        .where(_has_message_like(queued.c.task_id, conditions))
        .where(~has_result(queued.c.task_id))
        .order_by(queued.c.scheduled_at.desc())
    )
    above_watermark = _above_watermark(
        connection, task.c.scheduled_at, conditions, latest_first=True
    )
    return [_fetch(connection, each, limit) for each in (kept, above_watermark)]


def _above_watermark(
    connection: Connection,
    at: ColumnElement[datetime],
    conditions: Sequence[Condition],
    *,
    latest_first: bool = False,
) -> Select[Any]:
    """Return a query for tasks above the watermark that are not in its table."""
    seen_at = _swept(connection).seen
    found = (
        select(at.label("at"), task.c.id)
        .where(task.c.seen_at > seen_at, ~has_result(task.c.id), *conditions)
        .cte("unswept")
        # All of them are few; the order would lead through the history instead.
        .prefix_with("MATERIALIZED")
    )
    order = found.c.at.desc() if latest_first else found.c.at
    return select(found.c.at, found.c.id).order_by(order)


def _swept(connection: Connection) -> _Swept:
    # As values, by which the planner sees how many rows there are beyond.
    seen, stored = connection.execute(
        select(watermark.c.seen_at, watermark.c.date_done)
    ).one()
    return _Swept(seen, stored.replace(tzinfo=UTC))


def _has_message_like(
    task_id: ColumnElement[str], conditions: Sequence[Condition]
) -> Condition:
    found = select(task.c.id).where(task.c.id == task_id, *conditions)
    return found.scalar_subquery().is_not(None)


def _results(
    connection: Connection,
    conditions: Iterable[Condition],
    limit: int,
    *,
    since: datetime = _NEVER,
) -> Sequence[_Found]:
    date = taskmeta.c.date_done
    query = select(date, taskmeta.c.task_id).where(
        date >= naive_utc(since), *conditions
    )
    return _fetch(connection, query.order_by(date.desc()), limit)


def _undated(
    connection: Connection, conditions: Iterable[Condition], limit: int
) -> list[str]:
    """Return ids of results of which nobody has noted when they came."""
    if limit <= 0:
        return []
    query = select(taskmeta.c.task_id).where(
        taskmeta.c.date_done.is_(None), *conditions
    )
    return [str(id) for id in connection.scalars(query.limit(limit))]


def _planned(connection: Connection, filters: Filters, limit: int) -> list[str]:
    """Return ids of steps that have not come, the latest announced first."""
    if filters.queue is not None or limit <= 0:
        return []
    query = (
        select(planned.c.id)
        .where(~has_message_or_result(planned.c.id))
        .where(*named(filters, planned.c.name, planned.c.name))
        .order_by(planned.c.seen_at.desc())
    )
    return [str(id) for id in connection.scalars(query.limit(limit))]


def _fetch(connection: Connection, query: Select[Any], limit: int) -> Sequence[_Found]:
    return [
        _Found(at if at.tzinfo else at.replace(tzinfo=UTC), id)
        for at, id in connection.execute(query.limit(limit))
    ]


def _first(
    sources: Iterable[Sequence[_Found]], limit: int, *, reverse: bool = False
) -> list[str]:
    """Merge sources in their order, and return the first ids, each once."""
    merged = merge(*sources, key=lambda found: found.at, reverse=reverse)
    return list(islice(dict.fromkeys(found.id for found in merged), limit))
