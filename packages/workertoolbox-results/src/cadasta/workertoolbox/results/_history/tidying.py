"""Housekeeping of the archiver."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    Date,
    cast,
    delete,
    literal_column,
    or_,
    select,
    text,
    update,
)

from cadasta.workertoolbox.results._database.lock_use import find_lock_use
from cadasta.workertoolbox.results._database.tables import (
    history,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.days import add_days
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from cadasta.workertoolbox.results._history.horizon import delete_old_reports
from cadasta.workertoolbox.results._history.lost_tasks import mark_lost
from cadasta.workertoolbox.results._history.retention import DEFAULT
from cadasta.workertoolbox.results._history.rollup import delete_old_intervals

_logger = logging.getLogger(__name__)

#: How long a forgotten result stays after it was archived: a copy of its message may
#: still arrive.
FORGOTTEN_FOR = timedelta(hours=1)

#: Days that the announcement of a step may have waited for a monitor. After a longer
#: wait the row of the step stays in its table.
WAITED_DAYS = 7

#: Maximum number of rows of each table that are deleted in one transaction.
BATCH_SIZE = 1000


def tidy(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Create days ahead, and delete rows that archived tasks have left behind."""
    if connection.dialect.name == "postgresql":
        add_days(connection, now.date(), [DEFAULT, *sorted(options.retention.keeps)])
    _archive_late_messages(connection)
    _delete_forgotten(connection, now)
    _delete_planned(connection)
    delete_old_reports(connection, now)


def analyze(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Collect statistics of the history, which PostgreSQL does not do by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT workertoolbox_analyze_history()"))
        use = find_lock_use(connection)
        if use is not None and use.is_high:
            _logger.warning("%s", use)


def sample(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Sample the backlog, once in each minute."""
    sample_backlog(connection, now)


def delete_intervals(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Delete the intervals of rollups that are past their retention."""
    delete_old_intervals(connection, now)


#: Each part of the housekeeping, with the seconds between two runs. A sample that was
#: taken in the same minute is not repeated.
PERIODS_S: Mapping[Callable[[Connection, datetime, ArchiveOptions], None], float] = {
    tidy: 300.0,
    sample: 20.0,
    close_expired: 20.0,
    mark_lost: 60.0,
    delete_intervals: 60.0,
    analyze: 6 * 3600.0,
}


def _archive_late_messages(connection: Connection) -> None:
    """Reset the mark of archived tasks that have a live message.

    A trigger does this, except if the message is stored at the moment when the task is
    archived.
    """
    id = taskmeta.c.id
    archived = select(id).where(taskmeta.c.archived_at.is_not(None))
    late = archived.where(taskmeta.c.task_id.in_(select(task.c.id)))
    unlocked = late.limit(BATCH_SIZE).with_for_update(skip_locked=True)
    connection.execute(
        update(taskmeta).where(id.in_(unlocked)).values(archived_at=None)
    )


def _delete_forgotten(connection: Connection, now: datetime) -> None:
    id = taskmeta.c.id
    old = select(id).where(taskmeta.c.forgotten)
    old = old.where(taskmeta.c.archived_at < now - FORGOTTEN_FOR).limit(BATCH_SIZE)
    unlocked = old.with_for_update(skip_locked=True)
    connection.execute(delete(taskmeta).where(id.in_(unlocked)))


def _delete_planned(connection: Connection) -> None:
    """Delete steps that were announced after they had been archived or published."""
    id = planned.c.id
    result = select(taskmeta.c.id).where(taskmeta.c.task_id == id)
    archived = select(history.c.id).where(history.c.id == id)
    if connection.dialect.name == "postgresql":
        # A step ends after its announcement, which may have waited in the queue.
        first_day = cast(planned.c.seen_at, Date) - literal_column(str(WAITED_DAYS))
        archived = archived.where(history.c.day >= first_day)
    message = select(task.c.id).where(task.c.id == id)
    known = or_(message.exists(), result.exists(), archived.exists())
    unlocked = (
        select(id).where(known).limit(BATCH_SIZE).with_for_update(skip_locked=True)
    )
    connection.execute(delete(planned).where(id.in_(unlocked)))
