"""Records into tables: idempotent, and the same in any order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results import _tables
from cadasta.workertoolbox.results._engine import insert_into
from cadasta.workertoolbox.results._message import QuarantineRecord, TaskRecord
from cadasta.workertoolbox.results._queued import late_rows

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
        tasks = _rows(_merged(read), _tables.task.c.keys())
        _write(connection, _tables.task, _upsert_task, tasks)
        _write(connection, _tables.attempt, _insert_once, _attempts(read))
    if planned := _planned(read):
        _write(connection, _tables.planned, _insert_once, planned)
    if unread:
        insert = insert_into(_tables.quarantine, connection.dialect.name)
        names = [name for name in _tables.quarantine.c.keys() if name != "id"]
        connection.execute(_insert_once(insert), list(_rows(unread, names)))
    # Last: by now the watermark may have passed what was on time before.
    if late := late_rows(read):
        _write(connection, _tables.queued, _insert_once, late)


def _write(
    connection: Connection,
    table: Table,
    completed: Callable[[Insert], Insert],
    rows: Iterable[dict[str, Any]],
) -> None:
    """Insert rows by one statement.

    PostgreSQL gets them as one JSON document: it reads that faster than values, and
    nothing is done for each of them here.
    """
    if connection.dialect.name != "postgresql":
        insert = insert_into(table, connection.dialect.name)
        connection.execute(completed(insert), list(rows))
        return
    document = json.dumps(list(rows), default=datetime.isoformat)
    connection.execute(_from_json(table, completed), {"rows": document})


@cache
def _from_json(table: Table, completed: Callable[[Insert], Insert]) -> Insert:
    columns = [column(each.name, each.type) for each in table.c]
    document = cast(bindparam("rows", type_=Text), JSON)
    rows = func.json_to_recordset(document).table_valued(*columns, name="rows")
    selected = select(rows.render_derived(with_types=True))
    return completed(
        insert_into(table, "postgresql").from_select(table.c.keys(), selected)
    )


def _rows(records: Iterable[Record], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield {name: getattr(record, name) for name in names}


def _attempts(records: Iterable[TaskRecord]) -> Iterator[dict[str, Any]]:
    names = [name for name in _tables.attempt.c.keys() if name != "task_id"]
    for record in records:
        yield {"task_id": record.id, **{name: getattr(record, name) for name in names}}


def _planned(records: Iterable[TaskRecord]) -> list[dict[str, Any]]:
    """Return a row per step: all tasks of a chord's header announce the same body."""
    rows = {
        step.id: {
            "id": step.id,
            "name": step.name,
            "root_id": record.root_id,
            "parent_id": step.parent_id,
            "seen_at": record.seen_at,
        }
        for record in records
        for step in record.planned
    }
    return sorted(rows.values(), key=itemgetter("id"))


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


def _insert_once(insert: Insert) -> Insert:
    return insert.on_conflict_do_nothing()


def _upsert_task(insert: Insert) -> Insert:
    """Keep the instant of the first message, and all else of the latest."""
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
