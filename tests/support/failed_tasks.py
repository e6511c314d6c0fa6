"""Tasks that have failed, as a monitor and a worker store them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kombu.message import Message
from sqlalchemy import insert

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import error_group, taskmeta
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch

#: The key of the group of their errors.
GROUP = "1:0123456789abcdef"


def store_failed(store: TaskStore, ids: Sequence[str]) -> None:
    """Store tasks `export.echo` of the queue `export`, which can be run again."""
    now = datetime.now(UTC)
    records = [read_task(_message(id, now), seen_at=now) for id in ids]
    failed = {
        **{"status": "FAILURE", "date_done": now.replace(tzinfo=None)},
        **{"result": b'{"exc_type": "E", "exc_message": "no"}', "worker": "w@h"},
    }
    group = {
        **{"id": GROUP, "version": 1, "name": "export.echo", "sample": "E: no"},
        **{"first_at": now, "last_at": now, "retries": 0, "count": len(ids)},
        "state": "open",
    }
    with store.engine.begin() as connection:
        write_batch(connection, records)
        rows = [{"task_id": id, **failed} for id in ids]
        connection.execute(insert(taskmeta), rows)
        connection.execute(insert(error_group), group)


def _message(id: str, now: datetime) -> Message:
    body: Any = b"[[1], {}, {}]"
    headers: dict[str, Any] = {
        **{"task": "export.echo", "id": id, "root_id": id, "retries": 0},
        "workertoolbox_published_at": now.isoformat(),
    }
    return Message(
        body=body,
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "export"},
    )
