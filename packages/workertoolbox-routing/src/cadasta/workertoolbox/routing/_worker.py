"""Workers consume work queues, and no others."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import task_rejected, worker_init

from cadasta.workertoolbox.routing.transports._unreadable import UNREADABLE

_logger = logging.getLogger(__name__)

#: Most bytes that are shown of what could not be read.
MAX_SHOWN = 10_000


def connect() -> None:
    """Check what any worker of this process is about to consume, and does not."""
    worker_init.connect(_consume_work_only, dispatch_uid=__name__)
    task_rejected.connect(_show_unreadable, dispatch_uid=__name__)


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


def _show_unreadable(message: Any, **_: Any) -> None:
    found = (message.headers or {}).get(UNREADABLE)
    if found is not None:
        show_rejected(message, "message", found)


def show_rejected(message: Any, what: str, reason: object) -> None:
    """Log what is rejected: where no dead letters are kept, nobody else has it.

    Args:
        what: What it should have been.
        reason: Why it is none.
    """
    body = message.body or b""
    raw = body.encode() if isinstance(body, str) else bytes(body)
    _logger.error(
        "what lay in queue %r is no %s, and is rejected: %s\n%d bytes: %s",
        message.delivery_info.get("routing_key"),
        what,
        reason,
        len(raw),
        raw[:MAX_SHOWN].decode("utf-8", "backslashreplace"),
    )
