"""Up to which time the database knows what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.figures.archived_until import archived_until
from cadasta.workertoolbox.results._store.schedules.entries import find_known_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness(JsonRecord):
    """Up to which time messages and ends of tasks are in the database.

    Attributes:
        at: The present.
        read_until: All messages that were published until then are stored, as far as
            the running monitors say. While no monitor runs, it is when the last one
            stopped reading. It is the present if no monitor reports.
        archived_until: The figures contain all tasks that ended until then.
    """

    at: datetime
    read_until: datetime
    archived_until: datetime

    @property
    def monitor_lag_s(self) -> float:
        """How many seconds the monitors are behind."""
        return (self.at - self.read_until).total_seconds()

    @property
    def archiver_lag_s(self) -> float:
        """How many seconds the figures are behind."""
        return (self.at - self.archived_until).total_seconds()


def read_completeness(connection: Connection, now: datetime) -> Completeness:
    """Return up to which time the database is complete."""
    return Completeness(
        at=now,
        read_until=find_known_until(connection, now),
        archived_until=archived_until(connection, now),
    )
