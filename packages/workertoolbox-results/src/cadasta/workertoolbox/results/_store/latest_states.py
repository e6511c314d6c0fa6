"""Searches for tasks by their latest state.

A state is in `celery_taskmeta`, or in `workertoolbox_ended` if the task has ended and
its result was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, Table, select

from cadasta.workertoolbox.results._database.tables import ended, taskmeta
from cadasta.workertoolbox.results._database.types import NaiveInstant, naive_utc
from cadasta.workertoolbox.results._history.conditions import is_latest_end
from cadasta.workertoolbox.results._store.dated_ids import EPOCH, DatedId, fetch_ids
from cadasta.workertoolbox.results._store.filters import Condition


@dataclass(frozen=True)
class States:
    """A table of latest states.

    Attributes:
        table: The table; it has an index on `at`.
        at: The column of the time at which the state was stored.
        is_latest: Conditions that another table does not have a later state.
    """

    table: Table
    at: Column[datetime]
    is_latest: Sequence[Condition] = ()

    def find(
        self,
        connection: Connection,
        conditions: Iterable[Condition],
        limit: int,
        *,
        since: datetime = EPOCH,
    ) -> Sequence[DatedId]:
        """Return tasks by their latest state, newest first."""
        is_naive = isinstance(self.at.type, NaiveInstant)
        query = select(self.at, self.table.c.task_id).where(
            self.at >= (naive_utc(since) if is_naive else since),
            *conditions,
            *self.is_latest,
        )
        return fetch_ids(connection, query.order_by(self.at.desc()), limit)

    def find_undated(
        self, connection: Connection, conditions: Iterable[Condition], limit: int
    ) -> Sequence[str]:
        """Return ids of tasks whose latest state has no time."""
        if limit <= 0:
            return []
        query = select(self.table.c.task_id).where(
            self.at.is_(None), *conditions, *self.is_latest
        )
        return [str(id) for id in connection.scalars(query.limit(limit))]


RESULTS = States(taskmeta, taskmeta.c.date_done)
ENDS = States(ended, ended.c.ended_at, (is_latest_end(),))
