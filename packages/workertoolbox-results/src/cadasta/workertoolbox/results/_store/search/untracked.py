"""Searches for tasks that ran although no monitor has seen their message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, select, text

from cadasta.workertoolbox.results._database.statuses import PSEUDO_TASKS
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    IS_UNTRACKED,
    history,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import has_message, is_live
from cadasta.workertoolbox.results._store.rows.dated_ids import (
    DatedId,
    fetch_ids,
    merge_ids,
)
from cadasta.workertoolbox.results._store.rows.day_windows import on_days_since
from cadasta.workertoolbox.results._store.rows.value_days import find_days

#: Age from which a result without a message counts as untracked. Until then the message
#: may still arrive.
UNTRACKED_AFTER = timedelta(minutes=1)

#: Maximum number of live results that are read: the newest.
MAX_ROWS = 100_000

#: Number up to which untracked tasks are counted.
MAX_COUNTED = 20_000


def find_untracked(
    connection: Connection, limit: int, *, since: datetime
) -> Sequence[DatedId]:
    """Return tasks whose state was stored since an instant, without a message.

    The newest are first.
    """
    queries = [_select_live(since, rows) for rows in (IS_UNARCHIVED, IS_OPEN)]
    days = find_days(connection, {"tracked": ["false"]}) or ()
    if any(day >= since.date() for day in days):
        queries.append(_select_archived(since))
    sources = [fetch_ids(connection, query, limit) for query in queries]
    return merge_ids(sources, limit, newest_first=True)


def count_untracked(connection: Connection, *, since: datetime) -> int:
    """Count the tasks of `find_untracked`, up to 20,000."""
    return len(find_untracked(connection, MAX_COUNTED, since=since))


def _select_live(since: datetime, rows: str) -> Select[Any]:
    """Return a query for live results.

    Args:
        rows: The condition of a partial index. The index on the times of all results
            also has the archived ones, which are many more.
    """
    until = datetime.now(UTC) - UNTRACKED_AFTER
    result = taskmeta.c
    newest = (
        select(result.date_done, result.task_id)
        .where(
            text(rows),
            result.archived_at.is_(None),
            result.date_done >= naive_utc(since),
            result.date_done < naive_utc(until),
            result.not_run.is_(None),
            func.coalesce(result.name, "").not_in(PSEUDO_TASKS),
        )
        .order_by(result.date_done.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    untracked = select(*newest.c).where(~has_message(newest.c.task_id))
    return untracked.order_by(newest.c.date_done.desc())


def _select_archived(since: datetime) -> Select[Any]:
    ended = history.c
    return (
        select(ended.listed_at, ended.id, ended.day)
        .where(on_days_since(since), ended.listed_at >= since)
        # As text, so that SQLite finds the partial index.
        .where(text(IS_UNTRACKED), ~is_live(ended.id))
        .order_by(ended.listed_at.desc())
    )
