"""Housekeeping of the archiver."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update

from cadasta.workertoolbox.results._database.archived import find_ends_since
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.lock_use import find_lock_use
from cadasta.workertoolbox.results._database.tables import (
    day_value,
    history,
    planned,
    retention,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.backlog import sample_backlog
from cadasta.workertoolbox.results._history.clocks import (
    WAITED_DAYS,
    first_day_of_end,
)
from cadasta.workertoolbox.results._history.conditions import has_message_or_result
from cadasta.workertoolbox.results._history.days import add_days, existing_days
from cadasta.workertoolbox.results._history.earlier_ends import close_earlier
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.expired_tasks import close_expired
from cadasta.workertoolbox.results._history.horizon import delete_old_reports
from cadasta.workertoolbox.results._history.lost_tasks import mark_lost
from cadasta.workertoolbox.results._history.outcomes import close_unexpected
from cadasta.workertoolbox.results._history.retention import DEFAULT
from cadasta.workertoolbox.results._history.rollup import delete_old_intervals
from cadasta.workertoolbox.results._history.unrun_steps import close_recent_steps
from cadasta.workertoolbox.results._history.walks import next_step

_logger = logging.getLogger(__name__)

#: How long a forgotten result stays after it was archived: a copy of its message may
#: still arrive.
FORGOTTEN_FOR = timedelta(hours=1)

#: Seconds between two collections of the statistics of the history.
ANALYZE_PERIOD_S = 6 * 3600.0

#: Whether they were collected within some seconds. The server remembers that, and a
#: process such as that of `tasks archive --once` does not.
_IS_ANALYZED = text(
    "SELECT coalesce(last_analyze > now() - make_interval(secs => :s), false)"
    " FROM pg_stat_all_tables WHERE relid = to_regclass(:name)"
)

#: Maximum number of rows of each table that are deleted in one transaction.
BATCH_SIZE = 1000

#: Maximum number of messages and of planned steps that one run looks at.
STEP_SIZE = 5000


def tidy(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Create days ahead, and delete rows that archived tasks have left behind."""
    if connection.dialect.name == "postgresql":
        add_days(connection, now.date(), [DEFAULT, *sorted(options.retention.keeps)])
    _archive_late_messages(connection, now, options)
    _delete_forgotten(connection, now)
    _delete_planned(connection, options)
    delete_old_reports(connection, now)
    _delete_old_values(connection)


def analyze(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Collect statistics of the history, which PostgreSQL does not do by itself.

    Those that an archiver has collected a short while ago are not collected again.
    """
    if connection.dialect.name == "postgresql":
        values = {"s": 0.9 * ANALYZE_PERIOD_S, "name": history.name}
        if connection.scalar(_IS_ANALYZED, values):
            return
        connection.execute(text("SELECT workertoolbox_analyze_history()"))
        use = find_lock_use(connection)
        if use is not None and use.is_high:
            _logger.warning("%s", use)


def note_retention(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Store the retention that the archiver applies, for those who look at it."""
    days = {DEFAULT: None, **options.retention.days}
    connection.execute(delete(retention).where(retention.c.keep.not_in(days)))
    insert = insert_into(retention, connection.dialect.name)
    upsert = insert.on_conflict_do_update(
        index_elements=[retention.c.keep],
        set_={name: insert.excluded[name] for name in ("days", "applied_at")},
    )
    rows = [
        {"keep": keep, "days": number, "applied_at": now}
        for keep, number in days.items()
    ]
    connection.execute(upsert, rows)


def sample(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Sample the backlog, once in each minute."""
    sample_backlog(connection, now, options.faulty)


def delete_intervals(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Delete the intervals of rollups that are past their retention."""
    delete_old_intervals(connection, now)


#: A part of the housekeeping.
Housekeeping = Callable[[Connection, datetime, ArchiveOptions], None]

#: Each part of the housekeeping, with the seconds between two runs. A sample that was
#: taken in the same minute is not repeated, nor statistics that another process has
#: collected meanwhile.
PERIODS_S: Mapping[Housekeeping, float] = {
    tidy: 300.0,
    note_retention: 300.0,
    sample: 20.0,
    close_earlier: 5.0,
    close_expired: 20.0,
    close_recent_steps: 10.0,
    close_unexpected: 10.0,
    mark_lost: 60.0,
    delete_intervals: 60.0,
    analyze: ANALYZE_PERIOD_S,
}


def _archive_late_messages(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Merge live messages of archived tasks with their ends.

    A trigger does this, except if the end is stored and archived between the insertion
    of the message and its commit.
    """
    step = next_step(connection, options, [task.c.id], size=STEP_SIZE)
    ids = [id for (id,) in step]
    id = taskmeta.c.id
    archived = select(id).where(taskmeta.c.archived_at.is_not(None))
    late = archived.where(is_in(connection, taskmeta.c.task_id, ids))
    unlocked = late.with_for_update(skip_locked=True)
    connection.execute(
        update(taskmeta).where(id.in_(unlocked)).values(archived_at=None)
    )
    if connection.dialect.name == "postgresql":  # Writers of SQLite take turns.
        _store_again(connection, ids, now.date() - timedelta(days=WAITED_DAYS))


def _store_again(connection: Connection, ids: Sequence[str], since: date) -> None:
    """Store messages again whose results were deleted after the end was archived.

    The trigger then restores the results from the history.
    """
    has_result = select(taskmeta.c.id).where(taskmeta.c.task_id == task.c.id).exists()
    without = select(task.c.id).where(is_in(connection, task.c.id, ids), ~has_result)
    ends = find_ends_since(connection, connection.scalars(without).all(), since)
    late = select(task.c.id).where(
        is_in(connection, task.c.id, [end.id for end in ends])
    )
    unlocked = late.order_by(task.c.id).with_for_update(skip_locked=True)
    deleted = delete(task).where(task.c.id.in_(unlocked)).returning(*task.c)
    stored = select(*deleted.cte("stored").c)
    connection.execute(insert(task).from_select(task.c.keys(), stored))


def _delete_forgotten(connection: Connection, now: datetime) -> None:
    id = taskmeta.c.id
    old = select(id).where(taskmeta.c.forgotten)
    old = old.where(taskmeta.c.archived_at < now - FORGOTTEN_FOR).limit(BATCH_SIZE)
    unlocked = old.with_for_update(skip_locked=True)
    connection.execute(delete(taskmeta).where(id.in_(unlocked)))


def _delete_planned(connection: Connection, options: ArchiveOptions) -> None:
    """Delete steps that were announced after they had been archived or published."""
    id = planned.c.id
    order = [planned.c.seen_at, id]
    seen = {id: at for at, id in next_step(connection, options, order, size=STEP_SIZE)}
    if not seen:
        return
    is_live = select(id).where(
        is_in(connection, id, [*seen]), has_message_or_result(id)
    )
    live = {*connection.scalars(is_live)}
    others = [id for id in seen if id not in live]
    first_day = first_day_of_end(min(seen.values()))
    ended = {each.id for each in find_ends_since(connection, others, first_day)}
    is_known = is_in(connection, id, sorted(live | ended))
    unlocked = select(id).where(is_known).with_for_update(skip_locked=True)
    connection.execute(delete(planned).where(id.in_(unlocked)))


def _delete_old_values(connection: Connection) -> None:
    """Delete the values of days before the first one that the history has."""
    first: Any
    if connection.dialect.name == "postgresql":
        first = min((each.day for each in existing_days(connection)), default=None)
    else:  # A subquery, because Python could not read an edited day that is not a date.
        first = select(func.min(history.c.day)).scalar_subquery()
    if first is not None:
        connection.execute(delete(day_value).where(day_value.c.day < first))
