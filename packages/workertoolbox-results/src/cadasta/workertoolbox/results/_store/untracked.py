"""Searches for tasks that ran although no monitor has seen their message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, literal, select

from cadasta.workertoolbox.results._database.statuses import PSEUDO_TASKS
from cadasta.workertoolbox.results._database.tables import history, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import has_message, is_live
from cadasta.workertoolbox.results._store.dated_ids import (
    DatedId,
    fetch_ids,
    merge_ids,
)

#: Maximum number of results, and of tasks in the history, that are read: the newest.
MAX_ROWS = 100_000

#: Age from which a result without a message counts as untracked. Until then the message
#: may still arrive.
UNTRACKED_AFTER = timedelta(minutes=1)


def find_untracked(
    connection: Connection, limit: int, *, since: datetime
) -> Sequence[DatedId]:
    """Return tasks whose state was stored since an instant, without a message.

    The newest are first.
    """
    until = datetime.now(UTC) - UNTRACKED_AFTER
    result = taskmeta.c
    newest = (
        select(result.date_done, result.task_id)
        .where(
            result.archived_at.is_(None),
            result.date_done.between(naive_utc(since), naive_utc(until)),
            result.not_run.is_(None),
            func.coalesce(result.name, "").not_in(PSEUDO_TASKS),
        )
        .order_by(result.date_done.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    live = (
        select(newest.c.date_done, newest.c.task_id)
        .where(~has_message(newest.c.task_id))
        .order_by(newest.c.date_done.desc())
    )
    ended = history.c
    some = (
        select(ended.listed_at, ended.id, ended.day, ended.tracked)
        .where(
            ended.day >= literal(since.date(), literal_execute=True),
            ended.listed_at >= since,
        )
        .order_by(ended.listed_at.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    archived = (
        select(some.c.listed_at, some.c.id, some.c.day)
        .where(~some.c.tracked, ~is_live(some.c.id))
        .order_by(some.c.listed_at.desc())
    )
    sources = [fetch_ids(connection, query, limit) for query in (live, archived)]
    return merge_ids(sources, limit, newest_first=True)
