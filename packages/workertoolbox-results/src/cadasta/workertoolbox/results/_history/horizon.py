"""How far the monitors have read their queue.

After a pause of the monitors, the messages of tasks that have ended are still in the
queue. The archiver waits for them. It archives a result without a message only if the
message, if there is one, would have been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, delete, or_, select

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import monitor
from cadasta.workertoolbox.results._database.types import FIRST

#: How long after its last report a monitor counts as running. It reports every few
#: seconds, but not while it writes a batch.
RUNNING_FOR = timedelta(minutes=1)

#: How long a result waits for its message at most. After such a time without a report,
#: monitors count as removed.
MAX_WAIT = timedelta(days=1)

#: How far apart messages may have been published that arrive in the wrong order, and
#: how far the clocks of publishers and workers may differ without effect. The archiver
#: waits longer by default (`ARCHIVE_AFTER`).
MARGIN = timedelta(seconds=30)


class Report(NamedTuple):
    """The last report of a monitor.

    Attributes:
        read_until: The monitor has stored all messages that were published before; None
            if that is not known yet.
    """

    read_until: datetime | None
    reported_at: datetime


def read_reports(connection: Connection) -> Sequence[Report]:
    """Return the last report of each monitor."""
    query = select(monitor.c.read_until, monitor.c.reported_at)
    return [Report(*row) for row in connection.execute(query)]


def _is_recent(report: Report, now: datetime) -> bool:
    """Return whether a report is less than a day old, and less than a day ahead."""
    return abs(now - report.reported_at) <= MAX_WAIT


def running(reports: Iterable[Report], now: datetime) -> Sequence[Report]:
    """Return the reports of monitors that count as running."""
    return [each for each in reports if each.reported_at >= now - RUNNING_FOR]


def report_progress(
    connection: Connection,
    monitor_id: str,
    *,
    read_until: datetime | None,
    now: datetime,
) -> None:
    """Store how far a monitor has read.

    Args:
        read_until: The monitor has stored all messages that were published before, as
            far as it has received them; None if that is not known yet.
    """
    values = {"id": monitor_id, "read_until": read_until, "reported_at": now}
    insert = insert_into(monitor, connection.dialect.name).values(values)
    upsert = insert.on_conflict_do_update(index_elements=[monitor.c.id], set_=values)
    connection.execute(upsert)


def find_horizon(connection: Connection, now: datetime) -> datetime | None:
    """Return the time up to which the messages of ended tasks have been read.

    If a task ended before that time, its message is stored, or does not exist. The time
    is that of the running monitor that is furthest behind. While no monitor runs, it is
    that of the monitor that was furthest ahead.

    Returns:
        None if no monitor writes to this database.
    """
    reports = read_reports(connection)
    recent = [each for each in reports if _is_recent(each, now)]
    if not recent:
        return None
    at_work = [each.read_until or FIRST for each in running(recent, now)]
    horizon = min(at_work, default=None) or max(
        each.read_until or FIRST for each in recent
    )
    return max(horizon - MARGIN, now - MAX_WAIT)


def delete_old_reports(connection: Connection, now: datetime) -> None:
    """Delete the reports of monitors that were removed, or had a wrong clock."""
    old = monitor.c.reported_at < now - MAX_WAIT
    ahead = monitor.c.reported_at > now + MAX_WAIT
    connection.execute(delete(monitor).where(or_(old, ahead)))
