"""Messages of workflows, as Celery's own canvas publishes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery import Celery, Signature
from kombu.message import Message

from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def nothing(*_: object) -> None:
    pass


def workflow_app() -> Celery:
    """Return an app with the tasks `a` to `f`, which publishes in this process."""
    app = Celery(
        "planned",
        broker="memory://",
        backend="cache+memory://",
        set_as_current=False,
    )
    app.conf.task_default_queue = "planned"
    for name in "abcdef":
        app.task(name=name, shared=False)(nothing)
    return app


def published(app: Celery, signature: Signature[Any]) -> list[TaskRecord]:
    """Publish a canvas; return the records of its first messages."""
    signature.apply_async()
    records = []
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("planned")
        while len(queue):
            received: Message = queue.get()
            records.append(read_task(received, seen_at=NOW))
            received.ack()
    return records
