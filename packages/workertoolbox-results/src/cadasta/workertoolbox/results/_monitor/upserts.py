"""Idempotent writing of records; the result does not depend on their order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import Insert, distinct_on

from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.queued_again import is_queued_again
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.types import Document
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._monitor.records import (
    QuarantineRecord,
    Record,
    TaskRecord,
)
from cadasta.workertoolbox.results._monitor.refusals import write_refusals
from cadasta.workertoolbox.results._monitor.schedules import write_runs


def write_batch(
    connection: Connection,
    records: Sequence[Record],
    faulty: FaultyRows | None = None,
) -> None:
    """Write the records of task messages and of unreadable messages.

    Writing a record again changes nothing, so a message may be delivered twice.

    Args:
        faulty: Leaves out rows of other tables than tasks that cannot be written.
    """
    faulty = faulty or FaultyRows(limit=None)
    read = [record for record in records if isinstance(record, TaskRecord)]
    unread = [record for record in records if isinstance(record, QuarantineRecord)]
    published = _last_publications(read)
    # All monitors lock rows in the same order, so that they cannot deadlock.
    published.sort(key=attrgetter("id"))
    unread.sort(key=attrgetter("digest"))
    is_postgresql = connection.dialect.name == "postgresql"
    write = _write_arrays if is_postgresql else _write_rows
    if published:
        write(connection, published)
    write_refusals(connection, read, faulty)
    write_runs(connection, read, faulty)
    rows = {
        tables.planned: _planned_rows(published),
        tables.quarantine: [asdict(record) for record in unread],
    }
    for table, values in rows.items():
        if values:
            insert = insert_into(table, connection.dialect.name)
            connection.execute(_insert_once(insert), values)


def _last_publications(records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """Return the records without those of attempts that were published again later."""
    latest: dict[tuple[str, int, int], TaskRecord] = {}
    for record in records:
        attempt = (record.id, record.replaced, record.retries)
        other = latest.setdefault(attempt, record)
        if other is not record and _is_published_later(record, other):
            latest[attempt] = record
    return list(latest.values())


def _is_published_later(record: TaskRecord, other: TaskRecord) -> bool:
    if record.published_at is None or other.published_at is None:
        # It was received earlier; a message that is delivered again changes nothing.
        return record.scheduled_at < other.scheduled_at
    return record.published_at > other.published_at


def _write_arrays(connection: Connection, records: Sequence[TaskRecord]) -> None:
    """Write tasks and attempts with one statement on PostgreSQL.

    Each column is passed as one JSON array. This is the fastest way to pass rows, both
    for PostgreSQL (half the time of a JSON object per row, a tenth of the time of
    VALUES) and for Python, which encodes them.
    """
    names = tables.task.c.keys()
    columns = zip(*map(attrgetter(*names), records), strict=True)
    arrays = {
        name: _encode(column) for name, column in zip(names, columns, strict=True)
    }
    connection.execute(_insert_messages(), arrays)


_encode = json.JSONEncoder(default=datetime.isoformat, check_circular=False).encode


@cache
def _insert_messages() -> Insert:
    """Return the statement; its parameters are the columns of `workertoolbox_task`."""
    elements = (_array_elements(column).label(column.name) for column in tables.task.c)
    message = select(*elements).cte("message")
    # A statement can upsert a row only once, so it takes the latest message of each
    # task.
    first = func.min(message.c.scheduled_at).over(partition_by=message.c.id)
    latest = (
        select(*(first if each.name == "scheduled_at" else each for each in message.c))
        .ext(distinct_on(message.c.id))
        .order_by(message.c.id, message.c.replaced.desc(), message.c.retries.desc())
    )
    task = insert_into(tables.task, "postgresql")
    upsert = _upsert_task(task.from_select(tables.task.c.keys(), latest))
    upserted = upsert.returning(tables.task.c.id).cte("task")
    # The count makes PostgreSQL write, and so lock, the tasks before the attempts, as
    # all other statements do.
    count = select(func.count()).select_from(upserted).scalar_subquery()
    attempts = select(*(message.c[name] for name in _ATTEMPT_FIELDS.values())).where(
        count >= 0
    )
    attempt = insert_into(tables.attempt, "postgresql")
    return _insert_once(attempt.from_select(list(_ATTEMPT_FIELDS), attempts))


def _array_elements(column: Column[Any]) -> ColumnElement[Any]:
    array = cast(bindparam(column.name, type_=Text), JSON)
    if column.type is Document:
        element = cast(func.json_array_elements(array), column.type)
        return func.nullif(element, literal_column("'null'::jsonb"), type_=column.type)
    return cast(func.json_array_elements_text(array), column.type)


#: Columns of `workertoolbox_attempt`, with the field of a record for each.
_ATTEMPT_FIELDS = {
    column.name: "id" if column.name == "task_id" else column.name
    for column in tables.attempt.c
}


def _write_rows(connection: Connection, records: Sequence[TaskRecord]) -> None:
    """Write tasks and attempts, a row at a time, on SQLite."""
    tasks = [record._asdict() for record in records]
    for task in tasks:
        del task["run"], task["planned"], task["refused"], task["version"]
    attempts = [
        {name: task[key] for name, key in _ATTEMPT_FIELDS.items()} for task in tasks
    ]
    upsert = _upsert_task(insert_into(tables.task, "sqlite"))
    connection.execute(upsert, tasks)
    insert = _insert_once(insert_into(tables.attempt, "sqlite"))
    connection.execute(insert, attempts)


def _planned_rows(records: Iterable[TaskRecord]) -> list[dict[str, Any]]:
    """Return one row per step; all tasks of a chord's header announce the same body."""
    rows = {
        step.id: {
            "id": step.id,
            "name": step.name,
            "root_id": record.root_id,
            "parent_id": step.parent_id,
            "header_id": step.header_id,
            "group_id": step.group_id,
            "seen_at": record.seen_at,
        }
        for record in records
        for step in record.planned
    }
    return sorted(rows.values(), key=itemgetter("id"))


def _insert_once(insert: Insert) -> Insert:
    return insert.on_conflict_do_nothing()


def _upsert_task(insert: Insert) -> Insert:
    """Add ON CONFLICT: the row keeps the latest message and its first publication.

    The latest message is that of the latest attempt, and of the last publication if an
    attempt is published twice. The message of a task that has ended is not replaced,
    except by the one that was run, or by one that was published after the end: anybody
    who can publish could hide the task behind a forged copy. In the latter case the
    times stay those of the run until the archiver queues the task again. The time at
    which a monitor saw the task stays that of the message stored first.
    """
    old, new = tables.task.c, insert.excluded
    is_same_attempt = and_(new.replaced == old.replaced, new.retries == old.retries)
    is_later_attempt = or_(
        new.replaced > old.replaced,
        and_(new.replaced == old.replaced, new.retries > old.retries),
    )
    is_again = and_(is_same_attempt, new.published_at > old.published_at)
    is_earlier = and_(
        new.scheduled_at < old.scheduled_at,
        or_(~is_same_attempt, new.published_at.is_(None)),
    )
    # Each attempt is published at a time of its own.
    is_new = func.coalesce(new.published_at != old.published_at, true())
    replaces = and_(or_(is_later_attempt, is_again), is_new)
    changes = {
        column.name: case((replaces, new[column.name]), else_=column)
        for column in old
        if column.name not in ("id", "scheduled_at", "seen_at")
    }
    is_shown = and_(is_again, ~_has_ended_with_another_message())
    changes["scheduled_at"] = case(
        (or_(is_earlier, is_shown), new.scheduled_at), else_=old.scheduled_at
    )
    changes["seen_at"] = case((is_shown, new.seen_at), else_=old.seen_at)
    return insert.on_conflict_do_update(
        index_elements=[old.id],
        set_=changes,
        where=or_(
            and_(replaces, ~_has_ended_with_another_message(_queues_again())),
            and_(is_earlier, ~is_later_attempt),
        ),
    )


#: The columns of the new message. Those of `excluded` itself would add it to the FROM
#: of a subquery.
_NEW: Mapping[str, ColumnElement[Any]] = {
    column.name: literal_column(f"excluded.{column.name}") for column in tables.task.c
}


#: The columns by which lists find a task with a message.
_FOUND_BY = ("name", "queue", "root_id", "parent_id", "group_id")


def _queues_again() -> ColumnElement[bool]:
    """Return the condition that the new message queues an ended task again.

    The end is shown until it is archived, so that the new message must not change how
    the task is found.
    """
    return and_(
        is_queued_again(_NEW["published_at"], _NEW["retries"]),
        *(
            literal_column(f"workertoolbox_task.{name}").is_not_distinct_from(
                _NEW[name]
            )
            for name in _FOUND_BY
        ),
    )


def _has_ended_with_another_message(
    *unless: ColumnElement[bool],
) -> ColumnElement[bool]:
    """Return the condition that the stored end is not of the new message.

    Args:
        unless: Conditions on the result without which it counts.
    """
    result, new = tables.taskmeta.c, _NEW
    name = func.substr(new["name"], 1, tables.NAME_LENGTH)
    is_of_message = and_(
        # NULL if the result says nothing about its message.
        func.coalesce(result.retries == new["retries"], false()),
        func.coalesce(result.published_at == new["published_at"], true()),
        func.coalesce(result.name, name) == name,
        func.coalesce(result.root_id, new["root_id"], "")
        == func.coalesce(new["root_id"], ""),
    )
    return (
        select(result.task_id)
        .where(
            result.task_id == literal_column("workertoolbox_task.id"),
            # Not IN, whose parameters cannot be used for several rows at once.
            or_(*(result.status == status for status in ENDED)),
            ~is_of_message,
            *(~condition for condition in unless),
        )
        .exists()
    )
