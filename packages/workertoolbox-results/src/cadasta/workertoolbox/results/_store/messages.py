"""Searches for tasks by their message, or by that of the task that announces them.

Each query returns tasks sorted by age, and a limited number of them.

If a condition needs a row of another table, a scalar subquery looks it up by its index.
PostgreSQL may execute a join by reading the whole other table instead, if it
overestimates how many tasks are queued, or how many results are untracked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.tables import planned, task, untracked
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import (
    has_message,
    has_message_or_result,
    shown_status,
)
from cadasta.workertoolbox.results._store.dated_ids import DatedId, fetch_ids
from cadasta.workertoolbox.results._store.filters import (
    Filters,
    message_conditions,
    name_and_queue_conditions,
)


def find_tracked(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[DatedId]:
    """Return tasks with a message, newest first."""
    query = select(task.c.scheduled_at, task.c.id).where(*message_conditions(filters))
    if filters.status is not None:
        query = query.where(shown_status(task.c.id) == filters.status)
    return fetch_ids(connection, query.order_by(task.c.scheduled_at.desc()), limit)


def find_untracked_below_watermark(
    connection: Connection, filters: Filters, limit: int, *, since: datetime
) -> Sequence[DatedId]:
    """Return tasks that have or had a result, and have no message, newest first.

    They are in the table to which a monitor copies them. See `_history/watermark.py`.
    """
    columns = untracked.c
    status = shown_status(columns.task_id)
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
    return fetch_ids(connection, query, limit)


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
