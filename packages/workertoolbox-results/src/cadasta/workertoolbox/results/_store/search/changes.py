"""Messages and ends of tasks that were stored a moment ago."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.statuses import ENDED, PSEUDO_TASKS
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc

#: How long after the time in it a row may become visible: clocks of workers differ, and
#: a monitor commits batches.
OVERLAP = timedelta(seconds=10)

#: Maximum number of messages, and of ends, that are read at once.
MAX_CHANGES = 5000


class Change(NamedTuple):
    """A message or an end of a task.

    Attributes:
        at: When a monitor saw the message, or when a worker stored the end.
        is_end: Whether it is an end.
    """

    at: datetime
    id: str
    is_end: bool


def find_changes(connection: Connection, since: datetime) -> Sequence[Change]:
    """Return what was stored since an instant, newest first, by two indexes."""
    seen = (
        select(task.c.seen_at, task.c.id)
        .where(task.c.seen_at >= since)
        .order_by(task.c.seen_at.desc())
        .limit(MAX_CHANGES)
    )
    result = taskmeta.c
    ended = (
        select(result.date_done, result.task_id, result.name)
        .where(result.date_done >= naive_utc(since), result.status.in_(ENDED))
        .order_by(result.date_done.desc())
        .limit(MAX_CHANGES)
    )
    changes = [Change(at, id, False) for at, id in connection.execute(seen)]
    changes += (
        Change(at.replace(tzinfo=UTC), id, True)
        for at, id, name in connection.execute(ended)
        if name not in PSEUDO_TASKS
    )
    return sorted(changes, reverse=True)
