"""Searches for live tasks by their result.

The live results are those that are not archived: of tasks that have not ended, and of
tasks that ended a short while ago.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from celery import states
from sqlalchemy import Connection, Select, select, text, union_all

from cadasta.workertoolbox.results._database.statuses import ENDED, STATUSES
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._store.rows.dated_ids import (
    EPOCH,
    DatedId,
    fetch_ids,
)
from cadasta.workertoolbox.results._store.rows.distinct_values import each_value
from cadasta.workertoolbox.results._store.rows.filters import (
    Condition,
    Filters,
    has_message_where,
    state_conditions,
)

_stored_at = taskmeta.c.date_done


def find_results(
    connection: Connection,
    status: str | None,
    conditions: Sequence[Condition],
    limit: int,
    *,
    since: datetime = EPOCH,
) -> Iterator[Sequence[DatedId]]:
    """Yield live results in the order of their latest state, newest first.

    States without a time are last.

    Args:
        since: A time; older states are left out.
    """
    if status is None or status in ENDED:
        ended: list[Condition] = [text(IS_UNARCHIVED), *conditions]
        if status is not None:
            ended.append(taskmeta.c.status == status)
        yield _find_newest(connection, ended, limit, since)
    if status is None:
        open_ = open_states(connection)
    else:
        open_ = () if status in ENDED else (status,)
    for state in open_:
        of_state = [text(IS_OPEN), taskmeta.c.status == state, *conditions]
        yield _find_newest(connection, of_state, limit, since)


def _find_newest(
    connection: Connection, conditions: Sequence[Condition], limit: int, since: datetime
) -> Sequence[DatedId]:
    query = select(_stored_at, taskmeta.c.task_id).where(*conditions)
    dated = query.where(_stored_at >= naive_utc(since)).order_by(_stored_at.desc())
    if since > EPOCH:
        return fetch_ids(connection, dated, limit)
    undated = query.where(_stored_at.is_(None))
    # In one statement, because a round trip costs as much as reading the rows.
    parts = (each.limit(limit).subquery() for each in (dated, undated))
    both = union_all(*(select(each) for each in parts)).subquery()
    found = fetch_ids(connection, select(both), 2 * limit)
    return sorted(found, key=lambda each: each.at, reverse=True)[:limit]


def open_states(connection: Connection) -> Sequence[str]:
    """Return the states of tasks that have not ended, with an index lookup for each."""
    return connection.scalars(_open_states()).all()


@cache
def _open_states() -> Select[Any]:
    # Python needs longer to build this statement than PostgreSQL to execute it.
    return select(each_value(taskmeta.c.status, text(IS_OPEN)).c.value)


def find_started(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Iterator[Sequence[DatedId]]:
    """Yield tasks that have run since before an instant, oldest first.

    They are `STARTED`, or in a custom state such as `PROGRESS`, which a running task
    may store again and again.
    """
    started = _select_state(filters, states.STARTED, before)
    yield fetch_ids(connection, started, limit)
    for state in open_states(connection):
        if state not in STATUSES:
            for query in _select_running(filters, state, before):
                yield fetch_ids(connection, query, limit)


def find_to_be_retried(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Sequence[DatedId]:
    """Return tasks that have been in `RETRY` since before an instant, oldest first.

    Those whose ETA is later are left out.
    """
    has_later_eta = has_message_where([task.c.eta >= before])
    query = _select_state(filters, states.RETRY, before).where(~has_later_eta)
    return fetch_ids(connection, query, limit)


def _select_running(
    filters: Filters, state: str, before: datetime
) -> Iterator[Select[tuple[datetime, str]]]:
    """Yield queries for tasks in a custom state that started before an instant.

    A task without a start counts from its state.
    """
    started_at = taskmeta.c.started_at
    yield (
        select(started_at, taskmeta.c.task_id)
        .where(*_open_conditions(filters, state), started_at < before)
        .order_by(started_at)
    )
    yield _select_state(filters, state, before).where(started_at.is_(None))


def _select_state(
    filters: Filters, state: str, before: datetime
) -> Select[tuple[datetime, str]]:
    """Return a query for tasks that have had a state since before an instant."""
    return (
        select(_stored_at, taskmeta.c.task_id)
        .where(*_open_conditions(filters, state), _stored_at < naive_utc(before))
        .order_by(_stored_at)
    )


def _open_conditions(filters: Filters, state: str) -> Iterator[Condition]:
    yield text(IS_OPEN)
    yield taskmeta.c.status == state
    yield from state_conditions(filters)
