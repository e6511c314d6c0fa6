"""Workers consume work queues, and no others."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_init

_logger = logging.getLogger(__name__)


def connect() -> None:
    """Check what any worker of this process is about to consume."""
    worker_init.connect(_consume_work_only, dispatch_uid=__name__)


def _consume_work_only(sender: Any, **_: Any) -> None:
    """Take the monitor queue out, and end a worker of queues that do not exist."""
    conf = sender.app.conf
    monitor = conf.get("PLATFORM_QUEUE_NAME")
    if monitor is None:
        return
    queues = sender.app.amqp.queues
    known = {queue.name for queue in conf.task_queues}
    for name in queues.consume_from.keys() - known:
        # Celery would make it, with an exchange of its own that nothing is sent to.
        raise SystemExit(
            f"queue {name!r} is not declared; a worker can consume "
            f"{', '.join(sorted(known - {monitor}))}"
        )
    if queues._consume_from is not None and monitor in queues.consume_from:
        _logger.warning(
            "queue %r belongs to the task monitor: this worker will not consume it; "
            "run `celery … tasks monitor` for that, and leave it out of -Q",
            monitor,
        )
    queues.deselect([monitor])
