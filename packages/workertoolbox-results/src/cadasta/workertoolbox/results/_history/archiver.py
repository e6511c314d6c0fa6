"""The archiver: moves ended tasks from the live tables to the history.

It takes the tasks that ended a while ago, in batches. One transaction inserts a batch
into `workertoolbox_history`, deletes its messages and planned steps, and marks its
results in `celery_taskmeta`, so that each task is counted once, wherever the archiver
is interrupted. Rows that somebody else has locked are left for the next batch.

A task to which something is added after it was archived becomes live again: triggers
reset its mark. The archiver then takes its row out of the history, and archives the
task anew (`reopening.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    history,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._history.days import (
    DEFAULT,
    OLDEST_DAYS,
    Day,
    add_day,
    existing_days,
    nearest,
)
from cadasta.workertoolbox.results._history.reopening import reopen

#: Key of the advisory lock of the archiver in PostgreSQL; see `ADVISORY_LOCK_KEY`.
ARCHIVER_LOCK_KEY = 0x776F7262

#: Seconds from the end of a task until it is archived: most messages arrive before.
DELAY_S = 60.0

#: Maximum number of tasks in a transaction.
BATCH_SIZE = 1000

#: Bytes of a result that are kept; see `MAX_HISTORY_RESULT_BYTES`.
MAX_RESULT_BYTES = 64 * 1024

#: Bytes that are kept of a longer result, so that it can be shown.
BEGINNING_BYTES = 4096

#: Characters of a traceback that are kept: its end.
MAX_TRACEBACK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOptions:
    """What is archived, and how much of it.

    Attributes:
        delay_s: Seconds from the end of a task until it is archived.
        max_result_bytes: Bytes up to which a result is kept whole.
        batch_size: Maximum number of tasks in a transaction.
        keeps: Statuses and names of tasks with a retention class of their own.
    """

    delay_s: float = DELAY_S
    max_result_bytes: int = MAX_RESULT_BYTES
    batch_size: int = BATCH_SIZE
    keeps: frozenset[str] = frozenset()


class _EndedTask(NamedTuple):
    id: str
    status: str
    name: str | None
    ended_at: datetime | None


def archive_batch(connection: Connection, options: ArchiveOptions) -> int:
    """Archive a batch of ended tasks in the transaction of a connection.

    Returns:
        The number of results that were archived. It is 0 if there are none, or if
        another archiver is at work.
    """
    if not lock_archive(connection):
        return 0
    now = datetime.now(UTC)
    found = _find_ended(connection, options, now)
    if not found:
        return 0
    ids = [each.id for each in found]
    sizes = reopen(connection, ids)
    for day, some in _by_day(connection, found, options, now).items():
        _insert(connection, day, some, options, now)
    for id, size in sizes.items():
        cut = and_(history.c.id == id, history.c.result_bytes.is_(None))
        connection.execute(update(history).where(cut).values(result_bytes=size))
    for column in (task.c.id, attempt.c.task_id, planned.c.id):
        connection.execute(delete(column.table).where(is_in(connection, column, ids)))
    connection.execute(
        update(taskmeta)
        .where(is_in(connection, taskmeta.c.task_id, ids))
        .values(archived_at=now)
    )
    return len(ids)


def lock_archive(connection: Connection) -> bool:
    """Let no other archiver work until the end of the transaction.

    Returns:
        False if another archiver is at work.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return True
    return bool(
        connection.scalar(select(func.pg_try_advisory_xact_lock(ARCHIVER_LOCK_KEY)))
    )


def is_in(
    connection: Connection, column: Column[Any], ids: Sequence[str]
) -> ColumnElement[bool]:
    """Return a condition that a column has one of the values."""
    return column.in_(ids)


def _find_ended(
    connection: Connection, options: ArchiveOptions, now: datetime
) -> Sequence[_EndedTask]:
    """Lock ended tasks that are not archived yet, with their messages."""
    until = naive_utc(now - timedelta(seconds=options.delay_s))
    message = select(task.c.name).where(task.c.id == taskmeta.c.task_id)
    name = func.coalesce(message.scalar_subquery(), taskmeta.c.name)
    query = (
        select(taskmeta.c.task_id, taskmeta.c.status, name, taskmeta.c.date_done)
        .where(taskmeta.c.archived_at.is_(None), taskmeta.c.status.in_(ENDED))
        .where(taskmeta.c.task_id.is_not(None))
        .limit(options.batch_size)
        .with_for_update(skip_locked=True, of=taskmeta)
    )
    dated = query.where(taskmeta.c.date_done < until).order_by(taskmeta.c.date_done)
    rows = connection.execute(dated).all()
    if len(rows) < options.batch_size:
        undated = query.where(taskmeta.c.date_done.is_(None))
        rows = [*rows, *connection.execute(undated)]
    found = [
        _EndedTask(id, status, name, at and at.replace(tzinfo=UTC))
        for id, status, name, at in rows
    ]
    busy = _busy_messages(connection, [each.id for each in found])
    return [each for each in found if each.id not in busy]


def _busy_messages(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Lock the messages of tasks; return the ids of those that another has locked."""
    if connection.dialect.name == "sqlite":
        return set()
    messages = select(task.c.id).where(is_in(connection, task.c.id, ids))
    unlocked = messages.order_by(task.c.id).with_for_update(skip_locked=True)
    locked = {*connection.scalars(unlocked)}
    return {*connection.scalars(messages)} - locked


def _by_day(
    connection: Connection,
    found: Iterable[_EndedTask],
    options: ArchiveOptions,
    now: datetime,
) -> dict[Day, list[str]]:
    """Group the ids of tasks by the retention class and the day that keeps them."""
    today = now.date()
    groups: dict[Day, list[str]] = defaultdict(list)
    for each in found:
        wanted = Day(
            _keep(each, options.keeps), _believed((each.ended_at or now).date(), today)
        )
        groups[wanted].append(each.id)
    if connection.dialect.name == "sqlite":
        return groups
    known = {*existing_days(connection)}
    stored: dict[Day, list[str]] = defaultdict(list)
    for wanted, ids in groups.items():
        exists = wanted in known or add_day(connection, wanted)
        stored[wanted if exists else nearest(wanted, known)] += ids
    return stored


def _keep(ended: _EndedTask, keeps: frozenset[str]) -> str:
    for value in (ended.name, ended.status):
        if value in keeps:
            return str(value)
    return DEFAULT


def _believed(day: date, today: date) -> date:
    distance = (day - today).days
    return day if -OLDEST_DAYS <= distance <= 1 else today


def _insert(
    connection: Connection,
    day: Day,
    ids: Sequence[str],
    options: ArchiveOptions,
    now: datetime,
) -> None:
    values = _history_values(connection.dialect.name, options, now)
    values |= {"keep": literal(day.keep), "day": literal(day.day, history.c.day.type)}
    columns = [column.name for column in history.c]
    query: Select[Any] = select(*(values[name].label(name) for name in columns))
    ended = query.where(is_in(connection, live.c.id, ids), live.c.status.in_(ENDED))
    connection.execute(insert(history).from_select(columns, ended))


def _history_values(
    dialect: str, options: ArchiveOptions, now: datetime
) -> dict[str, ColumnElement[Any]]:
    """Return the columns of the history, made from those of the live tasks."""
    size = func.length(live.c.result)
    is_long = size > options.max_result_bytes
    finished_at = func.coalesce(
        live.c.finished_at, literal(now, live.c.finished_at.type)
    )
    traceback = live.c.traceback
    end = func.right if dialect == "postgresql" else _right
    return {
        **{column.name: column for column in live.c if column.name in history.c},
        "finished_at": finished_at,
        "listed_at": func.coalesce(live.c.scheduled_at, finished_at),
        "result": case(
            (is_long, func.substr(live.c.result, 1, BEGINNING_BYTES)),
            else_=live.c.result,
        ),
        "result_bytes": case((is_long, size)),
        "traceback": case(
            (func.length(traceback) > MAX_TRACEBACK, end(traceback, MAX_TRACEBACK)),
            else_=traceback,
        ),
        "messages": _messages(dialect),
    }


def _right(value: ColumnElement[Any], length: int) -> ColumnElement[Any]:
    return func.substr(value, -length)


def _messages(dialect: str) -> ColumnElement[Any]:
    """Return the messages of a task as a JSON array, or NULL if there was only one."""
    is_postgresql = dialect == "postgresql"
    build: Callable[..., Any]
    build = func.jsonb_build_object if is_postgresql else func.json_object
    gather: Callable[..., Any]
    gather = func.jsonb_agg if is_postgresql else func.json_group_array
    pairs = (
        part
        for column in attempt.c
        if column.name != "task_id"
        for part in (literal_column(f"'{column.name}'"), column)
    )
    query = (
        select(gather(build(*pairs)))
        .where(attempt.c.task_id == live.c.id)
        .having(func.count() > 1)
    )
    return query.scalar_subquery()
