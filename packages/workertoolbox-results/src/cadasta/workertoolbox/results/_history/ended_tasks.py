"""Ended tasks for the archiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from celery import Celery
from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, true

from cadasta.workertoolbox.results._arguments.truncation import byte_limit
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.queued_again import is_queued_again
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._durations import parse_duration
from cadasta.workertoolbox.results._errors import InvalidDuration
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.horizon import find_horizon
from cadasta.workertoolbox.results._history.retention import Retention

#: Seconds from the end of a task until it is archived: most messages arrive before.
DELAY_S = 60.0

#: Seconds from the expiry of a task until it is closed: clocks differ, and a worker
#: stores a start a little later.
EXPIRED_AFTER_S = 30.0

#: Seconds after which a running task without a time limit is overdue; see `LOST_AFTER`.
#: Few tasks run longer, and their end corrects the status.
LOST_AFTER_S = 6 * 3600.0

#: Seconds without a state from a worker after which it counts as silent.
SILENT_S = 300.0

#: Maximum number of tasks in a transaction, which takes less than half a second.
BATCH_SIZE = 2000

#: Number of bytes up to which a result is kept whole; see `MAX_HISTORY_RESULT_BYTES`.
MAX_RESULT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOptions:
    """Options of the archiver.

    Attributes:
        delay_s: Seconds from the end of a task until it is archived.
        max_result_bytes: Bytes up to which a result is kept whole.
        expired_after_s: Seconds from the expiry of a task until it is closed.
        lost_after_s: Seconds after which a task without a time limit is overdue.
        silent_s: Seconds without a state after which a worker counts as silent.
        batch_size: Maximum number of tasks in a transaction.
        retention: The classes of the history, and how long each is kept.
        left_out: Ids of tasks that are left out.
        positions: How far the housekeeping has walked through its tables, or None for a
            walk that has reached the end; see `walks.py`.
        faulty: The rows that the housekeeping leaves out.
    """

    delay_s: float = DELAY_S
    max_result_bytes: int = MAX_RESULT_BYTES
    expired_after_s: float = EXPIRED_AFTER_S
    lost_after_s: float = LOST_AFTER_S
    silent_s: float = SILENT_S
    batch_size: int = BATCH_SIZE
    retention: Retention = field(default_factory=Retention)
    left_out: frozenset[str] = frozenset()
    positions: dict[str, Sequence[Any] | None] = field(
        default_factory=dict, compare=False, repr=False
    )
    faulty: FaultyRows = field(default_factory=FaultyRows, compare=False, repr=False)


def archive_options(app: Celery) -> ArchiveOptions:
    """Return the options that an app configures for the archiver.

    Its settings are `ARCHIVE_AFTER`, `LOST_AFTER`, `MAX_HISTORY_RESULT_BYTES` and
    `RETENTION`.

    Raises:
        InvalidDuration: `ARCHIVE_AFTER` or `LOST_AFTER` is not a duration.
        InvalidLimit: `MAX_HISTORY_RESULT_BYTES` is not a positive number of bytes.
        InvalidRetention: `RETENTION` is invalid.
    """
    return ArchiveOptions(
        delay_s=_duration(app, "ARCHIVE_AFTER", DELAY_S),
        lost_after_s=_duration(app, "LOST_AFTER", LOST_AFTER_S),
        max_result_bytes=max_result_bytes(app),
        retention=Retention.for_app(app),
    )


def max_result_bytes(app: Celery) -> int:
    """Return the bytes up to which an app keeps a result whole in the history.

    Raises:
        InvalidLimit: `MAX_HISTORY_RESULT_BYTES` is not a positive number of bytes.
    """
    return byte_limit(app, "MAX_HISTORY_RESULT_BYTES", MAX_RESULT_BYTES)


def _duration(app: Celery, setting: str, default: float) -> float:
    value = app.conf.get(setting)
    if value is None:
        return default
    try:
        return parse_duration(value)
    except (TypeError, ValueError) as error:
        raise InvalidDuration(setting, value) from error


class EndedTask(NamedTuple):
    """A result for the archiver.

    Attributes:
        ended_at: When it was stored; None in a row that was not written by Celery.
        since: When the task was published, or None if that is not known.
        has_message: Whether a monitor has seen the message.
        is_queued_again: Whether the message is that of a later run.
    """

    id: str
    status: str
    name: str | None
    ended_at: datetime | None
    since: datetime | None
    has_message: bool
    is_queued_again: bool


def find_ended(
    connection: Connection, options: ArchiveOptions, now: datetime
) -> Sequence[EndedTask]:
    """Lock ended tasks that are not archived yet, with their messages.

    Rows that another transaction has locked are left out, and results whose message may
    still be in the queue.
    """
    result = taskmeta.c
    query = (
        select(
            *(result.task_id, result.status, result.name, result.date_done),
            *(result.published_at, task.c.id.is_not(None).label("has_message")),
        )
        .join_from(taskmeta, task, task.c.id == result.task_id, isouter=True)
        .where(result.archived_at.is_(None), result.status.in_(ENDED))
        .where(result.task_id.is_not(None))
        .where(_is_complete(find_horizon(connection, now), now))
        .limit(options.batch_size)
        .with_for_update(skip_locked=True, of=taskmeta)
    )
    if options.left_out:
        query = query.where(result.task_id.not_in(sorted(options.left_out)))
    until = naive_utc(now - timedelta(seconds=options.delay_s))
    dated = query.where(result.date_done < until).order_by(result.date_done)
    rows = connection.execute(dated).all()
    if len(rows) < options.batch_size:
        others = query.where(_has_wrong_time(now))
        others = others.order_by(result.date_done.nulls_last())
        rows = [*rows, *connection.execute(others)]
    messages = _lock_messages(connection, [row.task_id for row in rows])
    return [
        _ended_task(row, messages.get(row.task_id))
        for row in rows
        if row.task_id in messages or not row.has_message
    ]


def _ended_task(result: Row[Any], message: Row[Any] | None) -> EndedTask:
    published = (result.published_at, message and message.scheduled_at)
    return EndedTask(
        id=result.task_id,
        status=result.status,
        name=message and message.name or result.name,
        ended_at=result.date_done and result.date_done.replace(tzinfo=UTC),
        since=min(filter(None, published), default=None),
        has_message=message is not None,
        is_queued_again=bool(message and message.is_again),
    )


def _has_wrong_time(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a result does not say when it was stored.

    Celery does not write results without a time. A time in the future comes from a
    wrong clock. Such results are archived at once: without a time, a delay cannot be
    measured, and the task would be live until that time.
    """
    stored_at = taskmeta.c.date_done
    return or_(stored_at.is_(None), stored_at > naive_utc(now + MAX_LEAD))


def _is_complete(horizon: datetime | None, now: datetime) -> ColumnElement[bool]:
    """Return the condition that no further message of a result is expected.

    It is true for results with a wrong time: a message that arrives later is merged.

    Args:
        horizon: As `find_horizon` returns it.
    """
    if horizon is None:
        return true()
    result = taskmeta.c
    is_of_run = func.coalesce(
        task.c.published_at >= result.published_at,
        task.c.retries >= result.retries,
        task.c.id.is_not(None),
    )
    return or_(
        *(_has_wrong_time(now), result.date_done < naive_utc(horizon)),
        *(is_of_run, result.not_run.is_not(None)),
    )


def lock_next(
    connection: Connection, options: ArchiveOptions, now: datetime
) -> str | None:
    """Lock the task that `find_ended` finds first, and return its id.

    Other columns are not read, because they may contain values that Python cannot
    represent.
    """
    result = taskmeta.c
    until = naive_utc(now - timedelta(seconds=options.delay_s))
    query = (
        select(result.task_id)
        .join_from(taskmeta, task, task.c.id == result.task_id, isouter=True)
        .where(result.archived_at.is_(None), result.status.in_(ENDED))
        .where(result.task_id.is_not(None))
        .where(_is_complete(find_horizon(connection, now), now))
        .where(or_(result.date_done < until, _has_wrong_time(now)))
        .order_by(result.date_done.nulls_last())
        .limit(1)
        .with_for_update(skip_locked=True, of=taskmeta)
    )
    if options.left_out:
        query = query.where(result.task_id.not_in(sorted(options.left_out)))
    return connection.scalar(query)


def _lock_messages(
    connection: Connection, ids: Sequence[str]
) -> Mapping[str, Row[Any]]:
    """Lock and return the messages of tasks, except those that are locked already.

    The results of these tasks are locked. So a message that was committed while they
    were being locked is returned too, and a later one waits in its trigger.
    """
    is_again = is_queued_again(task.c.published_at, task.c.retries)
    query = (
        select(
            *(task.c.id, task.c.name, task.c.scheduled_at), is_again.label("is_again")
        )
        .join_from(task, taskmeta, taskmeta.c.task_id == task.c.id)
        .where(is_in(connection, task.c.id, ids))
        .order_by(task.c.id)
        .with_for_update(skip_locked=True, of=task)
    )
    return {row.id: row for row in connection.execute(query)}
