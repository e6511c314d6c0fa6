"""Ends of tasks that the broker refused after their copy had been sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from celery import states
from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.closed_tasks import (
    encode_revocation,
    store_ends,
)
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._monitor.records import TaskRecord


def write_refusals(
    connection: Connection, records: Iterable[TaskRecord], faulty: FaultyRows
) -> None:
    """Store the refused tasks of a batch, and the steps after them, as revoked.

    A result that is there already stays: the task was published again.

    Args:
        faulty: Leaves out tasks whose end cannot be stored.
    """
    rows = {row["task_id"]: row for record in records for row in _rows(record)}
    if rows:
        store_ends(connection, rows.values(), faulty)


def _rows(record: TaskRecord) -> Iterator[dict[str, Any]]:
    if record.refused is None:
        return
    reason = f"refused by the broker: {record.refused}"
    yield _row(
        record.id,
        record.name,
        reason,
        record.seen_at,
        queue=record.queue,
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
            queue=step.queue,
            root_id=record.root_id,
            parent_id=step.parent_id or record.id,
            group_id=step.group_id,
            not_run=reason,
        )


def _row(
    id: str, name: str, reason: str, ended_at: datetime, **columns: Any
) -> dict[str, Any]:
    return {
        "task_id": id,
        "status": states.REVOKED,
        "result": encode_revocation(reason),
        "date_done": naive_utc(ended_at),
        "name": name,
        **columns,
    }
