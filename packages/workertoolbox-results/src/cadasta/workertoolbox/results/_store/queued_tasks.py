"""Searches for queued tasks: those with a message and without a result.

Finding them in the whole history would take long. Therefore a monitor copies their ids
to `workertoolbox_queued`, up to a watermark. Newer ones are searched for among the
messages themselves. See `_history/watermark.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from cadasta.workertoolbox.results._database.statuses import QUEUED
from cadasta.workertoolbox.results._database.tables import queued, task
from cadasta.workertoolbox.results._history.conditions import has_result
from cadasta.workertoolbox.results._history.watermark import due_at
from cadasta.workertoolbox.results._store.dated_ids import DatedId, fetch_ids
from cadasta.workertoolbox.results._store.filters import (
    Condition,
    Filters,
    has_message_where,
    message_conditions,
)
from cadasta.workertoolbox.results._store.watermark import read_watermark


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
        .where(has_message_where(queued.c.task_id, conditions))
        .where(~has_result(queued.c.task_id))
        .order_by(queued.c.scheduled_at.desc())
    )
    above_watermark = _select_queued_above_watermark(
        connection, task.c.scheduled_at, conditions, newest_first=True
    )
    return [
        fetch_ids(connection, query, limit)
        for query in (below_watermark, above_watermark)
    ]


def find_due(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Sequence[Sequence[DatedId]]:
    """Return tasks without a result that could run before an instant, oldest first."""
    conditions = [due_at < before, *message_conditions(filters)]
    below_watermark = (
        select(queued.c.due_at, queued.c.task_id)
        .where(queued.c.due_at < before)
        .where(has_message_where(queued.c.task_id, conditions))
        .where(~has_result(queued.c.task_id))
        .order_by(queued.c.due_at)
    )
    above_watermark = _select_queued_above_watermark(connection, due_at, conditions)
    return [
        fetch_ids(connection, query, limit)
        for query in (below_watermark, above_watermark)
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
