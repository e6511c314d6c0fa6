"""Records into tables: idempotent, and the same in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby

from sqlalchemy import Connection, Insert, Table, and_, case, or_

from cadasta.workertoolbox.results import _tables
from cadasta.workertoolbox.results._engine import insert_into
from cadasta.workertoolbox.results._message import QuarantineRecord, TaskRecord

Record = TaskRecord | QuarantineRecord


def write_batch(connection: Connection, records: Sequence[Record]) -> None:
    """Write records of task messages and of unreadable ones.

    Writing a record again changes nothing: a message that is delivered twice, or by
    two brokers' paths, is the same message.
    """
    read = [record for record in records if isinstance(record, TaskRecord)]
    unread = [record for record in records if isinstance(record, QuarantineRecord)]
    # In the order of ids, so that two monitors do not wait for each other's rows.
    read.sort(key=lambda record: record.id)
    unread.sort(key=lambda record: record.digest)
    if read:
        connection.execute(
            _upsert_task(connection), [asdict(record) for record in _merged(read)]
        )
        connection.execute(
            _insert_once(connection, _tables.attempt),
            [_attempt(record) for record in read],
        )
    if unread:
        connection.execute(
            _insert_once(connection, _tables.quarantine),
            [asdict(record) for record in unread],
        )


def _merged(records: Iterable[TaskRecord]) -> Iterator[TaskRecord]:
    """Merge the messages of a task as `_upsert_task` does; they come side by side."""
    for _, messages in groupby(records, key=lambda record: record.id):
        first, *others = messages
        merged = first
        for message in others:
            earliest = min(merged.scheduled_at, message.scheduled_at)
            latest = max(merged, message, key=lambda one: (one.replaced, one.retries))
            merged = replace(latest, scheduled_at=earliest)
        yield merged


def _attempt(record: TaskRecord) -> dict[str, object]:
    columns = _tables.attempt.c.keys()
    values = {**asdict(record), "task_id": record.id}
    return {name: values[name] for name in columns}


def _insert_once(connection: Connection, table: Table) -> Insert:
    return insert_into(table, connection.dialect.name).on_conflict_do_nothing()


def _upsert_task(connection: Connection) -> Insert:
    """Keep the instant of the first message, and all else of the latest."""
    insert = insert_into(_tables.task, connection.dialect.name)
    old, new = _tables.task.c, insert.excluded
    later = or_(
        new.replaced > old.replaced,
        and_(new.replaced == old.replaced, new.retries > old.retries),
    )
    earlier = new.scheduled_at < old.scheduled_at
    changes = {
        column.name: case((later, new[column.name]), else_=column)
        for column in old
        if column.name not in ("id", "scheduled_at", "seen_at")
    }
    changes["scheduled_at"] = case((earlier, new.scheduled_at), else_=old.scheduled_at)
    return insert.on_conflict_do_update(
        index_elements=[old.id], set_=changes, where=or_(later, earlier)
    )
