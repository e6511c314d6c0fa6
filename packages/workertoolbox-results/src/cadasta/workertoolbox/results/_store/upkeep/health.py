"""The state of the database, and of the monitors and archivers that write to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from cadasta.workertoolbox.results._database.schema import (
    HEAD_REVISION,
    current_revision,
)
from cadasta.workertoolbox.results._database.tables import backlog, monitor
from cadasta.workertoolbox.results._history.backlog import ALL_QUEUES
from cadasta.workertoolbox.results._history.horizon import RUNNING_FOR
from cadasta.workertoolbox.results._history.monitor_ids import find_process
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.figures.completeness import (
    Completeness,
    read_completeness,
)
from cadasta.workertoolbox.results._store.figures.newest_task import (
    NewestTask,
    find_newest_task,
)
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.upkeep.quarantine import count_some
from cadasta.workertoolbox.results._store.upkeep.retention import (
    RetentionClass,
    read_retention,
)
from cadasta.workertoolbox.results._store.upkeep.storage import Storage, read_storage

#: Maximum number of monitors: each process that reported within a day is one.
MAX_MONITORS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport(JsonRecord):
    """The last report of a monitor that runs, or has run within a day.

    Attributes:
        id: What identifies it.
        host: The name of its host; None for a monitor of an older release.
        pid: The id of its process on that host; None as for `host`.
        read_until: It has stored all messages that were published before; None if that
            is not known yet.
        reported_at: When it reported that.
        is_running: Whether it has reported within a minute.
    """

    id: str
    host: str | None = None
    pid: int | None = None
    read_until: datetime | None
    reported_at: datetime
    is_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(JsonRecord):
    """The state of the database, as it shows itself.

    Attributes:
        revision: The revision of the schema; it is newer than `head_revision` if the
            database was upgraded for a later release.
        head_revision: The revision that this release needs.
        monitors: The monitors, the latest report first.
        completeness: Up to which time messages and ends of tasks are stored.
        newest: The newest task of which a monitor has stored the message.
        sampled_at: When an archiver last counted the waiting tasks, to the minute. It
            does so once a minute.
        quarantined: Number of messages in quarantine, at most 10,000.
        storage: The server, the role, and the space that tables take.
        retention: How long the history keeps tasks, by class, and what it has of each;
            `default` first.
    """

    revision: str
    head_revision: str
    monitors: Sequence[MonitorReport]
    completeness: Completeness
    newest: NewestTask | None
    sampled_at: datetime | None
    quarantined: int
    storage: Storage
    retention: Sequence[RetentionClass] = ()


class DatabaseHealth(OpenDatabase):
    """The method of `TaskStore` for the state of the database."""

    def health(self) -> Health:
        """Return the state of the database, and of what writes to it.

        Nothing is asked but the database, so the method works on every broker. Sizes
        come from the catalog of PostgreSQL, and are cheap.

        Example:
            Whether a monitor runs, and how far it is behind::

                health = store.health()
                print(any(each.is_running for each in health.monitors))
                print(health.completeness.monitor_lag_s)

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        now = datetime.now(UTC)
        with self._snapshot() as connection:
            storage = read_storage(connection, now.date())
            return Health(
                revision=current_revision(connection) or "",
                head_revision=HEAD_REVISION,
                monitors=_read_monitors(connection, now),
                completeness=read_completeness(connection, now),
                newest=find_newest_task(connection),
                sampled_at=_read_sampled_at(connection, now),
                quarantined=count_some(connection),
                storage=storage,
                retention=read_retention(connection, storage.days),
            )


def _read_monitors(connection: Connection, now: datetime) -> Sequence[MonitorReport]:
    columns = monitor.c
    query = (
        select(columns.id, columns.read_until, columns.reported_at)
        .order_by(columns.reported_at.desc(), columns.id)
        .limit(MAX_MONITORS)
    )
    return [
        _report_of(row.id, row.read_until, row.reported_at, now)
        for row in connection.execute(query)
    ]


def _report_of(
    id: str, read_until: datetime | None, reported_at: datetime, now: datetime
) -> MonitorReport:
    process = find_process(id)
    return MonitorReport(
        id=id,
        host=process and process.host,
        pid=process and process.pid,
        read_until=read_until,
        reported_at=reported_at,
        is_running=reported_at >= now - RUNNING_FOR,
    )


def _read_sampled_at(connection: Connection, now: datetime) -> datetime | None:
    newest = func.max(backlog.c.at, type_=backlog.c.at.type)
    query = select(newest).where(
        backlog.c.tier == "minute",
        backlog.c.at <= now,
        backlog.c.queue == ALL_QUEUES,
    )
    found: datetime | None = connection.scalar(query)
    return found
