"""Ends of tasks that the broker refused after their copy had been sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from operator import itemgetter
from typing import Any

from celery import states
from celery.exceptions import TaskRevokedError
from sqlalchemy import Connection, func

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._monitor.records import TaskRecord


def write_refusals(connection: Connection, records: Iterable[TaskRecord]) -> None:
    """Store the refused tasks of a batch, and the steps after them, as revoked.

    A result that is there already stays: the task was published again.
    """
    rows = {row["task_id"]: row for record in records for row in _rows(record)}
    if not rows:
        return
    insert = insert_into(taskmeta, connection.dialect.name).on_conflict_do_nothing()
    if connection.dialect.name == "postgresql":
        insert = insert.values(id=func.nextval("task_id_sequence"))
    # Inline: a monitor may not read the number of the row.
    connection.execute(
        insert.inline(), sorted(rows.values(), key=itemgetter("task_id"))
    )


def _rows(record: TaskRecord) -> Iterator[dict[str, Any]]:
    if record.refused is None:
        return
    reason = f"refused by the broker: {record.refused}"
    yield _row(
        record.id,
        record.name,
        reason,
        record.seen_at,
        queue=record.queue[:NAME_LENGTH],
        root_id=record.root_id,
        parent_id=record.parent_id,
        group_id=record.group_id,
        retries=record.retries,
        published_at=record.published_at,
    )
    reason = f"not run: {record.name}[{record.id}] was refused by the broker"
    for step in record.planned:
        yield _row(
            step.id,
            step.name,
            reason,
            record.seen_at,
            queue=step.queue and step.queue[:NAME_LENGTH],
            root_id=record.root_id,
            parent_id=step.parent_id or record.id,
            group_id=step.group_id,
            not_run=reason,
        )


def _row(
    id: str, name: str, reason: str, ended_at: datetime, **columns: Any
) -> dict[str, Any]:
    """Return a row with the result as Celery encodes a `TaskRevokedError` in JSON."""
    error = {
        "exc_type": TaskRevokedError.__name__,
        "exc_message": [reason],
        "exc_module": TaskRevokedError.__module__,
    }
    return {
        "task_id": id,
        "status": states.REVOKED,
        "result": json.dumps(error).encode(),
        "date_done": naive_utc(ended_at),
        "name": name[:NAME_LENGTH],
        "retries": None,
        "published_at": None,
        "not_run": None,
        **columns,
    }
