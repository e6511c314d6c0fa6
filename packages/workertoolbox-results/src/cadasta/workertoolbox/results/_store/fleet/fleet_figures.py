"""Figures about the whole fleet, which every monitor reads from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from cadasta.workertoolbox.results._database.tables import backlog, rollup
from cadasta.workertoolbox.results._history.backlog import ALL_QUEUES
from cadasta.workertoolbox.results._history.tally import Columns
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start
from cadasta.workertoolbox.results._store.errors.groups import count_states
from cadasta.workertoolbox.results._store.figures.archived_until import archived_until
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.schedules.entries import (
    find_known_until,
    read_schedules,
)
from cadasta.workertoolbox.results._store.search.untracked import count_untracked

#: Seconds after which a query is cancelled.
TIMEOUT_S = 5.0

#: How long a sample of the backlog is shown, and how long a queue is shown after its
#: last sample with tasks.
SAMPLE_AGE, QUEUE_AGE = timedelta(minutes=5), timedelta(hours=1)


class EndedKey(NamedTuple):
    """The key of a row of the rollups by the day."""

    at: datetime
    name: str
    queue: str
    status: str
    error_group: str


class Waiting(NamedTuple):
    """The backlog of a queue in the latest sample.

    Attributes:
        queued: Number of tasks that can run.
        scheduled: Number of tasks with an ETA ahead.
        oldest_s: Seconds that the oldest task has waited since it could run.
    """

    queued: int = 0
    scheduled: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigures:
    """Figures about the fleet, which are the same in each monitor.

    Attributes:
        ended: The tasks that ended today and yesterday (UTC).
        sampled_at: When the backlog was last sampled; None without a sample.
        queues: The backlog of each queue that had tasks in the last hour; empty if the
            last sample is older than five minutes.
        error_groups: Number of groups of errors by their state.
        overdue: Service and name of the entries of beat's schedule that are overdue.
        read_until: All messages that were published until then are stored.
        archived_until: The figures contain all tasks that ended until then.
        untracked: Number of results of the last hour whose task no monitor has seen, up
            to 20,000.
    """

    ended: Mapping[EndedKey, Columns]
    sampled_at: datetime | None
    queues: Mapping[str, Waiting]
    error_groups: Mapping[str, int]
    overdue: Sequence[tuple[str, str]]
    read_until: datetime
    archived_until: datetime
    untracked: int


class FleetReader(OpenDatabase):
    """A database from which the figures about the fleet are read."""

    timeout_s = TIMEOUT_S

    def read(self) -> FleetFigures:
        """Read the figures. The cost does not depend on the number of tasks.

        Raises:
            DatabaseUnavailable: The database cannot be reached, refuses the query, or
                takes more than five seconds.
        """
        now = datetime.now(UTC)
        with self._snapshot() as connection:
            sampled_at, queues = _read_backlog(connection, now)
            entries = read_schedules(connection, now, with_tasks=False)
            return FleetFigures(
                ended=_read_ended(connection, now),
                sampled_at=sampled_at,
                queues=queues,
                error_groups=count_states(connection, now),
                overdue=[
                    (each.service or "", each.entry)
                    for each in entries
                    if each.overdue and not each.removed
                ],
                read_until=find_known_until(connection, now),
                archived_until=archived_until(connection, now),
                untracked=count_untracked(connection, since=now - timedelta(hours=1)),
            )


def _read_ended(connection: Connection, now: datetime) -> Mapping[EndedKey, Columns]:
    day = TIERS["day"]
    tier, *columns = rollup.c
    query = select(*columns).where(
        tier == "day", rollup.c.at >= interval_start(now, day) - day
    )
    size = len(EndedKey._fields)
    return {
        EndedKey(*row[:size]): Columns(*row[size:]) for row in connection.execute(query)
    }


def _read_backlog(
    connection: Connection, now: datetime
) -> tuple[datetime | None, Mapping[str, Waiting]]:
    of_minutes = backlog.c.tier == "minute"
    newest = func.max(backlog.c.at, type_=backlog.c.at.type)
    at = connection.scalar(select(newest).where(of_minutes, backlog.c.at <= now))
    if at is None or at < now - SAMPLE_AGE:
        return at, {}
    query = (
        select(backlog)
        .where(of_minutes, backlog.c.at.between(at - QUEUE_AGE, at))
        .where(backlog.c.queue != ALL_QUEUES)
    )
    found: dict[str, Waiting] = {}
    for row in connection.execute(query.order_by(backlog.c.at)):
        is_last = row.at == at
        numbers = (row.queued_max, row.scheduled_max, row.oldest_max_s)
        found[row.queue] = Waiting(*numbers) if is_last else Waiting()
    return at, found
