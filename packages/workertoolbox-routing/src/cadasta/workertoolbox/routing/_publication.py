"""Complete task messages when they are published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from celery.signals import before_task_publish

from cadasta.workertoolbox.routing._delays import DELAYED_EXCHANGE, Delays
from cadasta.workertoolbox.routing._headers import PUBLISHED_AT
from cadasta.workertoolbox.routing._topology import Topology


def connect_signals() -> None:
    """Complete every task message whose route comes from `Router`, in this process."""
    before_task_publish.connect(_complete_message, dispatch_uid=__name__)


def _complete_message(
    headers: dict[str, Any],
    properties: dict[str, Any],
    exchange: Any = None,
    declare: Sequence[Any] | None = None,
    **_: Any,
) -> None:
    if not (isinstance(declare, list) and declare and type(declare[0]) is Topology):
        return
    # RabbitMQ would drop the monitor's copy when the task expires. Workers use the
    # header `expires` instead, and store that they have revoked the task.
    properties.pop("expiration", None)
    headers[PUBLISHED_AT] = datetime.now(UTC).isoformat()
    if getattr(exchange, "name", exchange) == DELAYED_EXCHANGE:
        # In Celery only workers declare the delays, but a producer may start first.
        declare.append(Delays(declare[0].queues))
