"""Why a task, or its next message, is not known: quarantine and monitors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.tables import quarantine
from cadasta.workertoolbox.results._history.horizon import read_reports, running
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._store.why.reason import (
    Cause,
    Clock,
    Finding,
    first_line,
)
from cadasta.workertoolbox.results._workflows.members import find_groups

#: Number of the newest messages in quarantine that are looked at.
MAX_QUARANTINED = 10_000

#: Seconds that a monitor may be behind: it reports every few seconds, and reads an
#: empty queue for some seconds before it knows that it is empty.
BEHIND_S = 30.0


@dataclass(frozen=True, slots=True)
class Monitors:
    """How far the monitors have read their queue.

    Attributes:
        read_until: All messages that were published before are stored; of running
            monitors, the one that is furthest behind counts. None if one of these, or
            all others, have not reported it.
        reported_at: When the last one has reported; None if none has within a day.
        is_running: Whether one has reported within the last minute.
    """

    read_until: datetime | None
    reported_at: datetime | None
    is_running: bool

    def behind_s(self, clock: Clock) -> float | None:
        """Return the seconds that running monitors are behind; None if not known."""
        if not self.is_running or self.read_until is None:
            return None
        return max(0.0, clock.since_s(self.read_until))

    def are_behind(self, clock: Clock) -> bool:
        """Return whether running monitors may not have read the newest messages."""
        behind_s = self.behind_s(clock)
        return self.is_running and (behind_s is None or behind_s > BEHIND_S)

    def evidence(self, clock: Clock) -> Mapping[str, Any]:
        """Return the values, with keys for the evidence of a reason."""
        return {
            "monitors_running": self.is_running,
            "monitors_reported_at": self.reported_at,
            "monitors_read_until_at": self.read_until,
            "monitors_behind_s": self.behind_s(clock),
        }


def read_monitors(connection: Connection, now: datetime) -> Monitors:
    """Return how far the monitors have read."""
    reports = read_reports(connection)
    at_work = running(reports, now)
    times = [each.read_until for each in at_work or reports]
    known = [at for at in times if at is not None]
    is_known = bool(known) and (not at_work or len(known) == len(at_work))
    furthest = min if at_work else max
    return Monitors(
        read_until=furthest(known) if is_known else None,
        reported_at=max((each.reported_at for each in reports), default=None),
        is_running=bool(at_work),
    )


def explain_missing_message(
    connection: Connection, clock: Clock, what: str
) -> Finding | None:
    """Explain why a message that was published may not have been seen.

    Args:
        what: The predicate that says what is missing.

    Returns:
        None if the monitors have read all messages.
    """
    return _explain_missing(read_monitors(connection, clock.now), clock, what)


def _explain_missing(monitors: Monitors, clock: Clock, what: str) -> Finding | None:
    evidence = monitors.evidence(clock)
    if monitors.are_behind(clock):
        if monitors.read_until is None:
            words = f"{what}, but the monitors have just started, and have not "
            words += "reported how far they have read"
        else:
            until = clock.shown(monitors.read_until)
            words = f"{what}, but the monitors are behind: they have read the messages "
            words += f"published until {until}"
        return Finding(Cause.MONITOR_BEHIND, words, evidence)
    if not monitors.is_running:
        last = monitors.reported_at
        words = f"{what}, but no monitor is running: "
        if last is None:
            words += "none has reported within a day"
        else:
            words += f"the last report was at {clock.shown(last)}"
        return Finding(Cause.NO_MONITOR, words, evidence)
    return None


def explain_unknown(connection: Connection, clock: Clock, id: str) -> Finding:
    """Explain an id that no monitor and no worker has seen."""
    quarantined = _find_quarantined(connection, clock, id)
    if quarantined is not None:
        return quarantined
    members = find_groups(connection, [id]).get(id, ())
    if members:
        words = (
            f"is not a task but a group of {counted(len(members), 'task')}; "
            f"`tasks show {id}` shows them"
        )
        return Finding(Cause.UNKNOWN, words, {"group_size": len(members)})
    monitors = read_monitors(connection, clock.now)
    what = "has not been seen by a monitor or a worker"
    missing = _explain_missing(monitors, clock, what)
    if missing is not None:
        return missing
    words = (
        "is not known: no monitor and no worker has seen it, and the monitors are not "
        "behind; the id is wrong, the task was purged, or it was published without the "
        "toolbox, and has not run yet or a worker without the toolbox ran it"
    )
    return Finding(Cause.UNKNOWN, words, monitors.evidence(clock))


def _find_quarantined(connection: Connection, clock: Clock, id: str) -> Finding | None:
    columns = quarantine.c
    newest = (
        select(columns.id, columns.reason, columns.seen_at, columns.headers)
        .order_by(columns.id.desc())
        .limit(MAX_QUARANTINED)
        .subquery()
    )
    query = (
        select(newest.c.id, newest.c.reason, newest.c.seen_at)
        .where(newest.c.headers["id"].as_string() == id)
        .order_by(newest.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    words = (
        f"has a message in quarantine, which a monitor could not read at "
        f"{clock.shown(row.seen_at)}: {first_line(row.reason)}; `tasks quarantine show "
        f"{row.id}` shows it, and workers may have run the task"
    )
    evidence = {"quarantine_id": row.id, "reason": row.reason, "seen_at": row.seen_at}
    return Finding(Cause.QUARANTINED, words, evidence)
