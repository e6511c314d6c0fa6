"""When a task was published, written into its message."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from celery.signals import before_task_publish
from kombu import Queue

from cadasta.workertoolbox.routing._topology import EXCHANGE

#: The header with the instant of publication, in ISO 8601 and UTC: no broker keeps
#: one, and the monitor may read the message much later.
PUBLISHED_AT = "workertoolbox_published_at"


def connect() -> None:
    """Have the instant written into every task that goes to the task exchange."""
    before_task_publish.connect(_stamp, dispatch_uid=PUBLISHED_AT)


def _stamp(
    headers: dict[str, Any], declare: Iterable[Queue] | None = None, **_: Any
) -> None:
    if any(queue.exchange.name == EXCHANGE for queue in declare or ()):
        headers[PUBLISHED_AT] = datetime.now(UTC).isoformat()
