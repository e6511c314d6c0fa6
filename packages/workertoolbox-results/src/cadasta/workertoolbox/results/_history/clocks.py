"""How far the clocks of a fleet may differ, and how late a message may arrive."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from sqlalchemy import RowMapping

from cadasta.workertoolbox.results._database.types import FIRST

#: How far the clock of a publisher may be ahead. Later times are not believed.
MAX_LEAD = timedelta(minutes=5)

#: Longest time from the publication of a message to its receipt. What a message says
#: about its age can be forged.
MAX_AGE = timedelta(days=366)

#: How far the clock of a publisher may be ahead of the clock of a worker: the end of a
#: task may seem to be this much earlier than its publication. Up to this lead, the time
#: that a message states is stored, because the results of its runs have the same one.
MAX_SKEW = timedelta(days=1)

#: Days that a message may have waited for a monitor after its task, or a step that it
#: announces, has ended. After a longer wait they are not merged.
WAITED_DAYS = 7


def believed(published_at: datetime, seen_at: datetime) -> datetime:
    """Return when a message was published, as far as that can be believed.

    Args:
        published_at: The time that the message states.
        seen_at: When a monitor saw it.
    """
    earliest = max(seen_at, FIRST + MAX_AGE) - MAX_AGE
    return min(max(published_at, earliest), seen_at + MAX_LEAD)


def stated(row: RowMapping) -> datetime:
    """Return when the only message of a row of the history says it was published.

    The row has the time that is believed, and the one that the run has stored.
    """
    scheduled_at: datetime = row["scheduled_at"]
    published_at: datetime | None = row["published_at"]
    if published_at is None or believed(published_at, row["seen_at"]) != scheduled_at:
        return scheduled_at  # The run is that of another message.
    return published_at


def first_day_of_end(announced_at: datetime) -> date:
    """Return the first day on which a step may have ended that a message announces.

    A step ends after its announcement, which may have waited in the queue.

    Args:
        announced_at: When a monitor saw the message.
    """
    return date_before(announced_at, timedelta(days=WAITED_DAYS))


def date_before(at: datetime, length: timedelta) -> date:
    """Return the date some time before an instant, but not one before `FIRST`."""
    return (max(at, FIRST + length) - length).date()
