"""Searches for the ids of the tasks that match a query.

A task may be known from its message (`workertoolbox_task`), from its result
(`celery_taskmeta`), from its end if the result was deleted (`workertoolbox_ended`), or
from the message of another task (`workertoolbox_planned`). Each of these sources is
queried by itself, and the answers are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select, union

from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT, PLANNED
from cadasta.workertoolbox.results._database.tables import (
    ended,
    planned,
    task,
    taskmeta,
    untracked,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import has_message
from cadasta.workertoolbox.results._store.dated_ids import EPOCH, merge_ids
from cadasta.workertoolbox.results._store.filters import (
    Filters,
    state_conditions,
    untracked_conditions,
)
from cadasta.workertoolbox.results._store.latest_states import ENDS, RESULTS
from cadasta.workertoolbox.results._store.messages import (
    find_planned,
    find_tracked,
    find_untracked_below_watermark,
)
from cadasta.workertoolbox.results._store.queued_tasks import find_due, find_queued
from cadasta.workertoolbox.results._store.running_tasks import (
    find_started,
    find_to_be_retried,
)
from cadasta.workertoolbox.results._store.watermark import read_watermark


def find_newest_ids(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[str]:
    """Return the ids of the newest tasks, in the order of `TaskStore.list`."""
    if filters.status in BEFORE_RESULT and filters.worker is not None:
        return []  # No worker has run such a task.
    if filters.status == PLANNED:
        return find_planned(connection, filters, limit)
    if filters.status in BEFORE_RESULT:
        sources = find_queued(connection, filters, limit)
        return merge_ids(sources, limit, newest_first=True)
    if filters.by_latest_state:
        return _find_by_latest_state(connection, filters, limit)
    return _find_by_message(connection, filters, limit)


def find_stuck_ids(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Sequence[str]:
    """Return the ids of tasks that began to wait or run before an instant.

    Those that have waited or run longest are first. A task that is to be retried waits
    from its error on, or from its ETA on.
    """
    sources = [
        *find_due(connection, filters, limit, before=before),
        *find_started(connection, filters, limit, before=before),
        *find_to_be_retried(connection, filters, limit, before=before),
    ]
    return merge_ids(sources, limit)


def find_child_ids(connection: Connection, parent_id: str) -> Sequence[str]:
    """Return the ids of tasks that may have a given parent.

    Several tables contain the parent of a task, and the view shows only one of them, so
    the caller has to check the tasks again.
    """
    result = taskmeta.c
    since = naive_utc(read_watermark(connection).stored_at)
    is_untracked = [result.parent_id == parent_id, ~has_message(result.task_id)]
    query = union(
        *(
            select(table.c[0]).where(table.c.parent_id == parent_id)
            for table in (task, planned, untracked, ended)
        ),
        select(result.task_id).where(result.date_done > since, *is_untracked),
        select(result.task_id).where(result.date_done.is_(None), *is_untracked),
    )
    return [str(id) for id in connection.scalars(query)]


def _find_by_message(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[str]:
    """Return ids sorted by the first message, or by the latest state if there is none.

    States without a time, and then planned steps, are last.
    """
    tracked = find_tracked(connection, filters, limit)
    # Older results cannot be among the first ids.
    since = tracked[-1].at if tracked and len(tracked) == limit else EPOCH
    sources = [
        tracked,
        find_untracked_below_watermark(connection, filters, limit, since=since),
    ]
    above_watermark = max(since, read_watermark(connection).stored_at)
    searches = [
        (states, [*untracked_conditions(filters, states.table), ~has_message(id)])
        for states in (RESULTS, ENDS)
        for id in [states.table.c.task_id]
    ]
    for states, conditions in searches:
        sources.append(
            states.find(connection, conditions, limit, since=above_watermark)
        )
    ids = merge_ids(sources, limit, newest_first=True)
    for states, conditions in searches:
        ids += states.find_undated(connection, conditions, limit - len(ids))
    if filters.status is None:
        ids += find_planned(connection, filters, limit - len(ids))
    return ids


def _find_by_latest_state(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[str]:
    """Return ids sorted by the latest state; states without a time are last."""
    searches = [
        (states, [*conditions])
        for states in (RESULTS, ENDS)
        for conditions in state_conditions(filters, states.table)
    ]
    found = [
        states.find(connection, conditions, limit) for states, conditions in searches
    ]
    ids = merge_ids(found, limit, newest_first=True)
    for states, conditions in searches:
        ids += states.find_undated(connection, conditions, limit - len(ids))
    return ids
