"""Searches for tasks in the history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.conditions import is_live
from cadasta.workertoolbox.results._store.rows.dated_ids import DatedId, merge_ids
from cadasta.workertoolbox.results._store.rows.day_windows import day_windows
from cadasta.workertoolbox.results._store.rows.filters import (
    Filters,
    history_conditions,
)
from cadasta.workertoolbox.results._store.rows.reading import (
    fetch_ended,
    select_ended,
)
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.rows.value_days import KINDS, find_days


def add_archived(
    connection: Connection,
    filters: Filters,
    found: Sequence[DatedId],
    limit: int,
    detail: Detail,
) -> Sequence[DatedId]:
    """Add tasks in the history to those that were found, and return the newest ones.

    The search stops at days that cannot contain a newer task. If a clock was wrong by
    more than a day, a task may be in a day that is not searched.

    Args:
        found: Live tasks, newest first.
        detail: How much is read of tasks in the history.
    """
    columns = history.c
    at = columns.finished_at if filters.by_latest_state else columns.listed_at
    query = (
        select_ended(connection, detail, at)
        .where(*history_conditions(connection, filters), ~is_live(columns.id))
        .order_by(at.desc())
    )
    for window in day_windows(connection, only=_days(connection, filters)):
        in_window = query.where(*window.conditions())
        if len(found) == limit:
            if window.is_before(found[-1].at):
                break
            in_window = in_window.where(at >= found[-1].at)
        some = fetch_ended(connection, in_window, limit)
        found = merge_ids([found, some], limit, newest_first=True)
    return found


def _days(connection: Connection, filters: Filters) -> frozenset[date] | None:
    values = {kind: getattr(filters, kind) for kind in KINDS}
    return find_days(
        connection,
        {kind: [value] for kind, value in values.items() if value is not None},
    )
