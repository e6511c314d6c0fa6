"""What is added to a task on its way out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from celery.signals import before_task_publish

from cadasta.workertoolbox.routing._topology import DELAYED_EXCHANGE, Delays, Topology

#: The header with the instant of publication, in ISO 8601 and UTC: no broker keeps
#: one, and the monitor may read the message much later.
PUBLISHED_AT = "workertoolbox_published_at"


def connect() -> None:
    """Have it added to every task that our router has routed."""
    before_task_publish.connect(_complete, dispatch_uid=PUBLISHED_AT)


def _complete(
    headers: dict[str, Any],
    properties: dict[str, Any],
    exchange: Any = None,
    declare: Sequence[Any] | None = None,
    **_: Any,
) -> None:
    if not (isinstance(declare, list) and declare and type(declare[0]) is Topology):
        return
    # RabbitMQ would drop the monitor's copy with the task. Workers look at the header
    # `expires`, and say that they have revoked it.
    properties.pop("expiration", None)
    headers[PUBLISHED_AT] = datetime.now(UTC).isoformat()
    if getattr(exchange, "name", exchange) == DELAYED_EXCHANGE:
        # Celery has its workers declare the delays; a producer may come before them.
        declare.append(Delays(declare[0].queues))
