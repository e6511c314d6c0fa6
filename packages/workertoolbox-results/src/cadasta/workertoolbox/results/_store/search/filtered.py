"""Searches for the ids of the tasks that match a query.

A task is live or in the history. A live task has a message (`workertoolbox_task`) or a
result (`celery_taskmeta`), or the message of another task announces it
(`workertoolbox_planned`). Each of these tables is queried separately, and the answers
are merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT, PLANNED
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.conditions import has_message
from cadasta.workertoolbox.results._store.rows.dated_ids import (
    EPOCH,
    DatedId,
    merge_ids,
)
from cadasta.workertoolbox.results._store.rows.filters import (
    Filters,
    state_conditions,
    untracked_conditions,
)
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.search.archived_tasks import add_archived
from cadasta.workertoolbox.results._store.search.live_messages import (
    find_due,
    find_messages,
    find_planned,
)
from cadasta.workertoolbox.results._store.search.live_results import (
    find_results,
    find_started,
    find_to_be_retried,
)


def find_newest(
    connection: Connection, filters: Filters, limit: int, detail: Detail
) -> Sequence[DatedId]:
    """Return the newest tasks, in the order of `TaskStore.list`.

    Args:
        detail: How much is read of those in the history.
    """
    if filters.status == PLANNED:
        return find_planned(connection, filters, limit)
    if filters.status in BEFORE_RESULT and filters.by_latest_state:
        return []  # No worker has run such a task.
    live = _find_live(connection, filters, limit)
    found: Sequence[DatedId] = merge_ids(live, limit, newest_first=True)
    if filters.may_have_ended:
        found = add_archived(connection, filters, found, limit, detail)
    if filters.status is None:
        found = [*found, *find_planned(connection, filters, limit - len(found))]
    return found


def find_stuck(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Sequence[DatedId]:
    """Return tasks that began to wait or run before an instant.

    Those that have waited or run longest are first. A task that is to be retried waits
    from its error on, or from its ETA on.
    """
    sources = [
        *find_due(connection, filters, limit, before=before),
        *find_started(connection, filters, limit, before=before),
        find_to_be_retried(connection, filters, limit, before=before),
    ]
    return merge_ids(sources, limit)


def _find_live(
    connection: Connection, filters: Filters, limit: int
) -> Iterator[Sequence[DatedId]]:
    """Yield live tasks by their first message, or by their state without one."""
    status = filters.status
    if filters.by_latest_state:
        by_state = [*state_conditions(filters)]
        yield from find_results(connection, status, by_state, limit)
        return
    messages = find_messages(connection, filters, limit)
    yield messages
    if status not in BEFORE_RESULT:
        # Older results cannot be among the first.
        since = messages[-1].at if len(messages) == limit else EPOCH
        untracked = [*untracked_conditions(filters), ~has_message(taskmeta.c.task_id)]
        yield from find_results(connection, status, untracked, limit, since=since)
