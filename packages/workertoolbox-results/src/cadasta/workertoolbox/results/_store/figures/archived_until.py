"""The instant up to which figures of ended tasks are complete."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, text

from cadasta.workertoolbox.results._database.tables import (
    IS_UNARCHIVED,
    rollup,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start

#: How far back the oldest end that is not archived is looked for. A task that the
#: database refuses stays longer.
MAX_DELAY = timedelta(days=1)


def archived_until(connection: Connection, now: datetime) -> datetime:
    """Return the start of the first minute whose ended tasks are not all archived.

    It is the current minute if all ended tasks are archived.
    """
    stored_at = taskmeta.c.date_done
    oldest = connection.scalar(
        select(func.min(stored_at, type_=stored_at.type)).where(
            text(IS_UNARCHIVED), stored_at >= naive_utc(now - MAX_DELAY)
        )
    )
    minute = TIERS["minute"]
    present = interval_start(now, minute)
    if oldest is None:
        return present
    first = interval_start(oldest.replace(tzinfo=now.tzinfo), minute)
    # Single tasks may be left over: those that the archiver could not archive.
    newest = connection.scalar(
        select(func.max(rollup.c.at, type_=rollup.c.at.type)).where(
            rollup.c.tier == "minute", rollup.c.at < present
        )
    )
    return min(max(first, newest or first), present)
