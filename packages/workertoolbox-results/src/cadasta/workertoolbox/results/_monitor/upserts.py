"""Idempotent writing of records; the result does not depend on their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection

from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._monitor.message_arrays import (
    ATTEMPT_FIELDS,
    write_arrays,
)
from cadasta.workertoolbox.results._monitor.records import (
    QuarantineRecord,
    Record,
    TaskRecord,
)
from cadasta.workertoolbox.results._monitor.refusals import write_refusals
from cadasta.workertoolbox.results._monitor.schedules import write_runs
from cadasta.workertoolbox.results._monitor.task_upsert import upsert_task


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
    write = write_arrays if is_postgresql else _write_rows
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
            connection.execute(insert.on_conflict_do_nothing(), values)


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


def _write_rows(connection: Connection, records: Sequence[TaskRecord]) -> None:
    """Write tasks and attempts, a row at a time, on SQLite."""
    tasks = [record._asdict() for record in records]
    for task in tasks:
        del task["run"], task["planned"], task["refused"], task["version"]
    attempts = [
        {
            **{name: task[key] for name, key in ATTEMPT_FIELDS.items()},
            "scheduled_at": task["published_at"] or task["scheduled_at"],
        }
        for task in tasks
    ]
    upsert = upsert_task(insert_into(tables.task, "sqlite"))
    connection.execute(upsert, tasks)
    insert = insert_into(tables.attempt, "sqlite").on_conflict_do_nothing()
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
