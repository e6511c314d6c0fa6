"""Workers leave the monitor queue alone."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_init

_logger = logging.getLogger(__name__)


def connect() -> None:
    """Take the monitor queue from what any worker of this process consumes."""
    worker_init.connect(_leave_the_monitor_queue, dispatch_uid=__name__)


def _leave_the_monitor_queue(sender: Any, **_: Any) -> None:
    monitor = sender.app.conf.get("PLATFORM_QUEUE_NAME")
    queues = sender.app.amqp.queues
    if monitor is None:
        return
    if queues._consume_from is not None and monitor in queues.consume_from:
        _logger.warning(
            "queue %r belongs to the task monitor: this worker will not consume it; "
            "run `celery tasks monitor` for that, and leave it out of -Q",
            monitor,
        )
    queues.deselect([monitor])
