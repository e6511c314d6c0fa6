"""Searches for live tasks and planned steps by messages.

Each query returns tasks sorted by age, and a limited number of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, or_, select

from cadasta.workertoolbox.results._database.archived import find_ends_since
from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT, QUEUED
from cadasta.workertoolbox.results._database.tables import planned, task
from cadasta.workertoolbox.results._history.clocks import first_day_of_end
from cadasta.workertoolbox.results._history.conditions import (
    has_ended_with,
    has_message_or_result,
    has_result,
)
from cadasta.workertoolbox.results._history.outcomes import is_outcome_expected
from cadasta.workertoolbox.results._store.rows.dated_ids import (
    EPOCH,
    DatedId,
    fetch_ids,
)
from cadasta.workertoolbox.results._store.rows.filters import (
    Filters,
    message_conditions,
    name_and_queue_conditions,
)


def find_messages(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[DatedId]:
    """Return tasks with a message, newest first."""
    query = select(task.c.scheduled_at, task.c.id).where(*message_conditions(filters))
    if filters.status in BEFORE_RESULT:
        eta, now = task.c.eta, datetime.now(UTC)
        is_due = or_(eta.is_(None), eta <= now)
        query = query.where(is_due if filters.status == QUEUED else eta > now)
        query = query.where(~has_result(task.c.id))
    elif filters.status is not None:
        query = query.where(has_ended_with(task.c.id, [filters.status]))
    return fetch_ids(connection, query.order_by(task.c.scheduled_at.desc()), limit)


def find_due(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Iterator[Sequence[DatedId]]:
    """Yield tasks without a result that could run before an instant, oldest first.

    Tasks with an ETA and tasks without one are found by different indexes. Those whose
    results are stored elsewhere are left out: they may have run.
    """
    is_expected = is_outcome_expected(datetime.now(UTC))
    at, eta = task.c.scheduled_at, task.c.eta
    for due_at, is_of_kind in ((at, eta.is_(None) | (eta < at)), (eta, eta >= at)):
        query = select(due_at, task.c.id).where(
            is_of_kind,
            due_at < before,
            *message_conditions(filters),
            ~has_result(task.c.id),
            is_expected,
        )
        yield fetch_ids(connection, query.order_by(due_at), limit)


def find_planned(
    connection: Connection, filters: Filters, limit: int
) -> Sequence[DatedId]:
    """Return steps that are not published yet, the last announced first."""
    if filters.queue is not None or filters.by_latest_state:
        return []  # The queue of a step is not known yet.
    query = (
        select(planned.c.seen_at, planned.c.id)
        .where(~has_message_or_result(planned.c.id))
        .where(*name_and_queue_conditions(filters, planned.c.name, planned.c.name))
        .order_by(planned.c.seen_at.desc(), planned.c.id)
    )
    found: list[DatedId] = []
    read = 0
    while len(found) < limit:
        some = fetch_ids(connection, query.offset(read), limit)
        # The message that announces a step may arrive after the step has ended.
        first_day = first_day_of_end(min((each.at for each in some), default=EPOCH))
        ids = [each.id for each in some]
        ended = {each.id for each in find_ends_since(connection, ids, first_day)}
        found += (each for each in some if each.id not in ended)
        read += limit
        if len(some) < limit:
            break
    return found[:limit]
