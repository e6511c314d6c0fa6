"""The tables of queued and untracked tasks, complete up to their watermarks.

A *queued* task is one whose message a monitor has seen and that has no result. An
*untracked* task is one that has or had a result and whose message no monitor has seen.
Finding them in the whole history would mean looking up the result of every task, and
the task of every result.

Therefore, some time after a message was seen, a task without a result gets a row in
`workertoolbox_queued`, and some time after a result was stored, a result without a task
gets one in `workertoolbox_untracked`, even if the result has been deleted. The two
*watermarks* are the instants up to which this was done. Queries read those tables, and
look up only messages and results that are newer than the watermarks. Every few seconds,
one of the monitors makes a *sweep*: it advances the watermarks and deletes rows that
have become obsolete. If no monitor runs, queries give the same answers, but take
longer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    case,
    delete,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._database.tables import (
    ended,
    planned,
    queued,
    task,
    taskmeta,
    untracked,
    watermark,
)
from cadasta.workertoolbox.results._database.types import NaiveUTC, naive_utc
from cadasta.workertoolbox.results._history.conditions import (
    has_message,
    has_message_or_result,
    has_result,
    is_latest_end,
)

_logger = logging.getLogger(__name__)

#: How far the watermarks stay behind the present. In this time messages and results are
#: committed, and most tasks have got both.
GRACE = timedelta(minutes=2)

#: Time from receipt to commit after which a message counts as late, for example because
#: of an outage. The watermark may have passed it, so the monitor itself inserts the row
#: of the queued task. The other half of `GRACE` allows for differences between the
#: clocks of monitors.
LATE_AFTER = GRACE / 2

#: How far the clock of a publisher may be ahead. A later time is not believed.
CLOCK_SKEW = timedelta(minutes=5)

#: Maximum number of rows of each table that one sweep reads. That takes a few tenths of
#: a second on PostgreSQL, during which the monitor stores no messages.
BATCH_SIZE = 10_000

#: Seconds between two sweeps.
INTERVAL_S = 10.0

#: Seconds until the next sweep if there were more rows than one sweep reads.
BEHIND_S = 1.0

#: Seconds until the next sweep after an error.
FAILED_S = 60.0

#: The time between two sweeps is at least this many times the duration of a sweep, so
#: that the monitor has time to store messages.
REST_FACTOR = 9

#: SQL for the instant from which a task may run: its ETA, or when it was scheduled.
due_at: ColumnElement[datetime] = case(
    (task.c.eta > task.c.scheduled_at, task.c.eta), else_=task.c.scheduled_at
)


class WatermarkSweep:
    """Repeated sweeps over a limited number of rows, which advance the watermarks.

    If several monitors run, only one of them sweeps at a time.
    """

    def __init__(self) -> None:
        self._next_at = 0.0
        # The id after which the next sweep looks for obsolete rows, by table.
        self._after: dict[str, str] = {}

    def advance_if_due(self, engine: Engine) -> None:
        """Advance the watermarks if a sweep is due; log an error and retry later."""
        if time.monotonic() < self._next_at:
            return
        wait_s = INTERVAL_S
        began_at = time.monotonic()
        try:
            with engine.begin() as connection:
                if not self.advance(connection, until=datetime.now(UTC) - GRACE):
                    wait_s = BEHIND_S
        except DBAPIError as error:
            _logger.warning(
                "the watermarks of queued and untracked tasks cannot be advanced, "
                "trying again in %g s: %s",
                FAILED_S,
                one_line(error),
            )
            wait_s = FAILED_S
        ended_at = time.monotonic()
        self._next_at = ended_at + max(wait_s, REST_FACTOR * (ended_at - began_at))

    def advance(self, connection: Connection, *, until: datetime) -> bool:
        """Advance the watermarks towards an instant; return whether they reached it.

        Also delete some of the obsolete rows: queued tasks that have a result by now,
        untracked tasks whose message has arrived, and planned steps that have been
        published. The next call continues with the rows after these.
        """
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        unlocked = select(watermark).with_for_update(skip_locked=True)
        since = connection.execute(unlocked).one_or_none()
        if since is None:  # Another monitor is sweeping.
            return True
        is_done = _insert_queued(connection, since=since.seen_at, until=until)
        is_done &= _insert_untracked(
            connection, since=since.date_done, until=naive_utc(until)
        )
        for id, is_obsolete in _obsolete(until):
            after = self._after.get(id.table.name, "")
            after, deleted = _delete_obsolete(connection, id, after, is_obsolete)
            self._after[id.table.name] = after
            # If a sweep deletes more, rows may become obsolete faster than one sweep
            # per interval can delete them.
            is_done &= deleted <= BATCH_SIZE // 10
        return is_done


def _obsolete(until: datetime) -> Iterator[tuple[Column[Any], ColumnElement[bool]]]:
    """Yield the id column of each table with the condition for its obsolete rows."""
    id = queued.c.task_id
    yield id, has_result(id) | ~has_message(id)
    id = untracked.c.task_id
    yield id, has_message(id) | ~has_result(id)
    id = planned.c.id
    yield id, (planned.c.seen_at <= until) & has_message_or_result(id)


def _insert_queued(connection: Connection, *, since: datetime, until: datetime) -> bool:
    """Insert queued tasks and advance their watermark.

    Returns:
        Whether the watermark reached `until`.
    """
    reached = _next_watermark(connection, task.c.seen_at, since, until)
    without_result = select(task.c.id, task.c.scheduled_at, due_at).where(
        task.c.seen_at > since, task.c.seen_at <= reached, ~has_result(task.c.id)
    )
    insert = insert_into(queued, connection.dialect.name)
    connection.execute(
        insert.from_select(queued.c.keys(), without_result).on_conflict_do_nothing()
    )
    connection.execute(update(watermark).values(seen_at=reached))
    return reached >= until


def _insert_untracked(
    connection: Connection, *, since: datetime, until: datetime
) -> bool:
    """Insert untracked tasks and advance their watermark, as `_insert_queued` does."""
    stored_at, ended_at = taskmeta.c.date_done, ended.c.ended_at
    # Ends of deleted results have their dates in another type.
    since_utc, until_utc = since.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
    reached = min(
        _next_watermark(connection, stored_at, since, until),
        naive_utc(_next_watermark(connection, ended_at, since_utc, until_utc)),
    )
    names = untracked.c.keys()
    results = select(*(taskmeta.c[name] for name in names)).where(
        stored_at > since, stored_at <= reached, ~has_message(taskmeta.c.task_id)
    )
    others = (ended.c[name] for name in names if name not in ("task_id", "date_done"))
    ends = select(ended.c.task_id, NaiveUTC(ended_at), *others).where(
        ended_at > since_utc,
        ended_at <= reached.replace(tzinfo=UTC),
        ~has_message(ended.c.task_id),
        is_latest_end(),
    )
    insert = insert_into(untracked, connection.dialect.name)
    # An earlier state of the same task may have a row.
    changes = {name: insert.excluded[name] for name in names if name != "task_id"}
    for without_message in (results, ends):
        connection.execute(
            insert.from_select(names, without_message).on_conflict_do_update(
                index_elements=[untracked.c.task_id], set_=changes
            )
        )
    connection.execute(update(watermark).values(date_done=reached))
    return reached >= until


def _next_watermark(
    connection: Connection, column: Column[Any], since: datetime, until: datetime
) -> datetime:
    """Return the instant up to which one sweep reads rows.

    Rows with the same instant are read in the same sweep, even beyond `BATCH_SIZE`.
    """
    last: datetime | None = connection.scalar(
        select(column)
        .where(column > since, column <= until)
        .order_by(column)
        .offset(BATCH_SIZE - 1)
        .limit(1)
    )
    return max(since, until) if last is None else last


def _delete_obsolete(
    connection: Connection,
    id: Column[Any],
    after: str,
    is_obsolete: ColumnElement[bool],
) -> tuple[str, int]:
    """Delete the obsolete rows among the next `BATCH_SIZE` rows after an id.

    Returns:
        The id after which to continue, and the number of deleted rows.
    """
    last: str | None = connection.scalar(
        select(id).where(id > after).order_by(id).offset(BATCH_SIZE - 1).limit(1)
    )
    batch = [id > after] if last is None else [id > after, id <= last]
    # Skips rows that a purge has locked, so that no monitor waits for a purge.
    unlocked = select(id).where(*batch, is_obsolete).with_for_update(skip_locked=True)
    deleted = connection.execute(delete(id.table).where(id.in_(unlocked))).rowcount
    return last or "", deleted
