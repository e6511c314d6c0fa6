"""Searches for tasks that are running, or are to be retried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from celery import states
from sqlalchemy import Connection, Select, select

from cadasta.workertoolbox.results._database.statuses import STATUSES
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._store.dated_ids import DatedId, fetch_ids
from cadasta.workertoolbox.results._store.filters import (
    Filters,
    has_message_where,
    state_conditions,
)


def find_started(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Iterator[Sequence[DatedId]]:
    """Yield tasks that have run since before an instant, oldest first.

    They are `STARTED`, or in a custom state such as `PROGRESS`, which a running task
    may store again and again.
    """
    for query in _select_state(filters, states.STARTED, before):
        yield fetch_ids(connection, query, limit)
    for state in _custom_states(connection):
        for query in _select_running(filters, state, before):
            yield fetch_ids(connection, query, limit)


def _custom_states(connection: Connection) -> Iterator[str]:
    """Yield the states of tasks that are not Celery's, by a look into an index each."""
    status = taskmeta.c.status
    in_partial_index = status != states.SUCCESS
    query = select(status).where(in_partial_index).order_by(status).limit(1)
    state = connection.scalar(query)
    while state is not None:
        if state not in STATUSES:
            yield state
        state = connection.scalar(query.where(status > state))


def _select_running(
    filters: Filters, state: str, before: datetime
) -> Iterator[Select[Any]]:
    """Yield queries for tasks in a custom state that started before an instant.

    A task without a start counts from its state.
    """
    started_at, stored_at = taskmeta.c.started_at, taskmeta.c.date_done
    wanted = replace(filters, status=state)
    for conditions in state_conditions(wanted, taskmeta):
        yield (
            select(started_at, taskmeta.c.task_id)
            .where(started_at < before, *conditions)
            .order_by(started_at)
        )
        yield (
            select(stored_at, taskmeta.c.task_id)
            .where(stored_at < naive_utc(before), *conditions)
            .where(started_at.is_(None))
            .order_by(stored_at)
        )


def find_to_be_retried(
    connection: Connection, filters: Filters, limit: int, *, before: datetime
) -> Iterator[Sequence[DatedId]]:
    """Yield tasks that have been in `RETRY` since before an instant, oldest first.

    Those whose ETA is later are left out.
    """
    has_later_eta = has_message_where(taskmeta.c.task_id, [task.c.eta >= before])
    for query in _select_state(filters, states.RETRY, before):
        yield fetch_ids(connection, query.where(~has_later_eta), limit)


def _select_state(
    filters: Filters, state: str, before: datetime
) -> Iterator[Select[Any]]:
    """Yield queries for tasks that have had a state since before an instant."""
    stored_at = taskmeta.c.date_done
    wanted = replace(filters, status=state)
    for conditions in state_conditions(wanted, taskmeta):
        yield (
            select(stored_at, taskmeta.c.task_id)
            .where(stored_at < naive_utc(before), *conditions)
            .order_by(stored_at)
        )
