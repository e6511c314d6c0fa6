"""How far the clocks of a fleet may differ, and how late a message may arrive."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from cadasta.workertoolbox.results._database.types import FIRST

#: How far the clock of a publisher may be ahead. Later times are not believed.
MAX_LEAD = timedelta(minutes=5)

#: How far the clock of a publisher may be ahead of the clock of a worker: the end of a
#: task may seem to be this much earlier than its publication.
MAX_SKEW = timedelta(days=1)

#: Days that a message may have waited for a monitor after its task, or a step that it
#: announces, has ended. After a longer wait they are not merged.
WAITED_DAYS = 7


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
