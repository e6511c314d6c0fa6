"""Tasks without a result and results without a task, kept apart from the history.

To find them there is to look for the result of every task, and for the task of every
result. So a task that has no result a while after its message was seen is put into
`workertoolbox_queued`, and a result that has no task a while after it was stored into
`workertoolbox_untracked`. The watermarks are the instants up to which this is done; of
what was seen or stored later, everything is looked at. The monitors move them on. If
none does, whoever asks gets the same answer, only later.
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
    ScalarSelect,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import (
    planned,
    queued,
    task,
    taskmeta,
    untracked,
    watermark,
)
from cadasta.workertoolbox.results._database.types import naive_utc

_logger = logging.getLogger(__name__)

#: How far the watermarks stay behind: time for a message to be committed once it is
#: read, for a result to be stored once it is there, and for most of both to meet.
GRACE = timedelta(minutes=2)

#: Age of a message that is committed only now, as after an outage, from which the
#: watermark may have passed it. The other half is for the clocks of the monitors.
LATE_AFTER = GRACE / 2

#: Most rows of each table that are looked at in one go: some tenths of a second for
#: PostgreSQL, in which the monitor stores no messages.
BATCH_SIZE = 10_000

#: Seconds between two goes; when there was more than fits into one; after an error.
INTERVAL_S = 10.0
BEHIND_S = 1.0
FAILED_S = 60.0

#: Times as long as a go took that a monitor does nothing but store messages.
REST = 9

#: When a task may run: its ETA, or when it was scheduled.
due_at: ColumnElement[datetime] = case(
    (task.c.eta > task.c.scheduled_at, task.c.eta), else_=task.c.scheduled_at
)


def has_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether anything has run a task.

    It is looked up for each by an index: of a join, a planner might read all results.
    """
    return _result(task_id).is_not(None)


def has_message(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether a monitor has seen a task; as above."""
    return _message(task_id).is_not(None)


def has_message_or_result(task_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether either is so."""
    # As one condition, of which a planner takes a few to be so, and not hardly any.
    return func.coalesce(_message(task_id), _result(task_id)).is_not(None)


def _result(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    found = select(taskmeta.c.task_id).where(taskmeta.c.task_id == task_id)
    return found.scalar_subquery()


def _message(task_id: ColumnElement[str]) -> ScalarSelect[Any]:
    return select(task.c.id).where(task.c.id == task_id).scalar_subquery()


class WatermarkSweep:
    """The moving of the watermarks, a bounded number of rows at a time.

    Of several monitors, one does it.
    """

    def __init__(self) -> None:
        self._next_at = 0.0
        self._after: dict[str, str] = {}

    def advance_if_due(self, engine: Engine) -> None:
        """Move the watermarks on; an error is only logged, and tried again."""
        if time.monotonic() < self._next_at:
            return
        wait_s = INTERVAL_S
        began_at = time.monotonic()
        try:
            with engine.begin() as connection:
                if not self.advance(connection, until=datetime.now(UTC) - GRACE):
                    wait_s = BEHIND_S
        except DBAPIError as error:
            _logger.warning("queued tasks cannot be told apart now: %s", error.orig)
            wait_s = FAILED_S
        ended_at = time.monotonic()
        self._next_at = ended_at + max(wait_s, REST * (ended_at - began_at))

    def advance(self, connection: Connection, *, until: datetime) -> bool:
        """Move the watermarks towards an instant, and return whether that is all.

        Tasks that have a result by now are no longer queued, results whose message has
        come no longer untracked, and steps that have come no longer planned: some of
        them are deleted, next time the next.
        """
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        ours = select(watermark).with_for_update(skip_locked=True)
        since = connection.execute(ours).one_or_none()
        if since is None:  # another monitor is at it
            return True
        is_done = _keep_queued(connection, since=since.seen_at, until=until)
        is_done &= _keep_untracked(
            connection, since=since.date_done, until=naive_utc(until)
        )
        for id, over in _obsolete(until):
            after = self._after.get(id.table.name, "")
            after, deleted = _delete_some(connection, id, after, over)
            self._after[id.table.name] = after
            # Where they are many, they come faster than one go in a while takes them.
            is_done &= deleted <= BATCH_SIZE // 10
        return is_done


def _obsolete(until: datetime) -> Iterator[tuple[Column[Any], ColumnElement[bool]]]:
    """Yield the ids of the tables, and which of their rows are not needed any more."""
    id = queued.c.task_id
    yield id, has_result(id) | ~has_message(id)
    id = untracked.c.task_id
    yield id, has_message(id) | ~has_result(id)
    id = planned.c.id
    yield id, (planned.c.seen_at <= until) & has_message_or_result(id)


def _keep_queued(connection: Connection, *, since: datetime, until: datetime) -> bool:
    reached = _reached(connection, task.c.seen_at, since, until)
    without = select(task.c.id, task.c.scheduled_at, due_at).where(
        task.c.seen_at > since, task.c.seen_at <= reached, ~has_result(task.c.id)
    )
    insert = insert_into(queued, connection.dialect.name)
    connection.execute(
        insert.from_select(queued.c.keys(), without).on_conflict_do_nothing()
    )
    connection.execute(update(watermark).values(seen_at=reached))
    return reached >= until


def _keep_untracked(
    connection: Connection, *, since: datetime, until: datetime
) -> bool:
    date = taskmeta.c.date_done
    reached = _reached(connection, date, since, until)
    names = untracked.c.keys()
    without = select(*(taskmeta.c[name] for name in names)).where(
        date > since, date <= reached, ~has_message(taskmeta.c.task_id)
    )
    insert = insert_into(untracked, connection.dialect.name)
    # Its state may have been stored before, too.
    changes = {name: insert.excluded[name] for name in names if name != "task_id"}
    connection.execute(
        insert.from_select(names, without).on_conflict_do_update(
            index_elements=[untracked.c.task_id], set_=changes
        )
    )
    connection.execute(update(watermark).values(date_done=reached))
    return reached >= until


def _reached(
    connection: Connection, column: Column[Any], since: datetime, until: datetime
) -> datetime:
    """Return how far one go gets; all rows of an instant go together."""
    last: datetime | None = connection.scalar(
        select(column)
        .where(column > since, column <= until)
        .order_by(column)
        .offset(BATCH_SIZE - 1)
        .limit(1)
    )
    return max(since, until) if last is None else last


def _delete_some(
    connection: Connection, id: Column[Any], after: str, over: ColumnElement[bool]
) -> tuple[str, int]:
    """Delete what is over among the rows after an id.

    Returns:
        The id to go on after, and how many were deleted.
    """
    last: str | None = connection.scalar(
        select(id).where(id > after).order_by(id).offset(BATCH_SIZE - 1).limit(1)
    )
    some = [id > after] if last is None else [id > after, id <= last]
    # What a purge is at is its own: no monitor waits for one.
    free = select(id).where(*some, over).with_for_update(skip_locked=True)
    deleted = connection.execute(delete(id.table).where(id.in_(free))).rowcount
    return last or "", deleted
