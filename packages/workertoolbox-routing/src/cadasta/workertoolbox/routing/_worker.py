"""Check the queues that a worker consumes, and log the messages that it rejects."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery.signals import task_rejected, worker_init
from celery.utils.nodenames import worker_direct

from cadasta.workertoolbox.routing._delays import DELAYED_EXCHANGE
from cadasta.workertoolbox.routing._headers import UNREADABLE
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._masking import mask_fields
from cadasta.workertoolbox.routing._task_queue import EXCHANGE, PublishedQueue

_logger = logging.getLogger(__name__)

#: Words of a topic's pattern that match any word.
_WILDCARDS = {"*", "#"}

#: Shown instead of what may contain secrets.
HIDDEN = "not logged, as it may contain secrets"

#: Maximum number of characters of the body of a rejected message that are logged.
MAX_LOGGED = 10_000


def connect_signals() -> None:
    """Check the queues of workers, and log rejected messages, in this process.

    The queues are checked only for apps that are configured with the toolbox.
    """
    worker_init.connect(_check_consumed_queues, dispatch_uid=__name__)
    task_rejected.connect(_log_unreadable, dispatch_uid=__name__)


def _check_consumed_queues(sender: Any, **_: Any) -> None:
    """Deselect queues of others, and stop a worker that names an undeclared queue."""
    conf = sender.app.conf
    monitor = conf.get("PLATFORM_QUEUE_NAME")
    if monitor is None:
        return
    queues = sender.app.amqp.queues
    declared = {queue.name for queue in conf.task_queues}
    # Celery has added the queue of this worker alone.
    direct = {worker_direct(sender.hostname).name} if conf.worker_direct else set()
    for name in queues.consume_from.keys() - declared - direct:
        # Celery would create it with an exchange of its own, which receives no tasks.
        raise SystemExit(
            f"queue {name!r} is not declared; a worker can consume "
            f"{', '.join(sorted(declared - {monitor}))}"
        )
    is_selected = queues._consume_from is not None
    if is_selected and monitor in queues.consume_from:
        _logger.warning(
            "queue %r belongs to the task monitor: this worker does not consume it; "
            "remove it from -Q, and run `celery … tasks monitor` to consume it",
            monitor,
        )
    published = [
        queue.name for queue in queues.values() if isinstance(queue, PublishedQueue)
    ]
    queues.deselect([monitor] if is_selected else [monitor, *published])


def find_queue_problem(
    conf: Mapping[str, Any], queue: Any, exchange: Any, routing_key: Any
) -> str | None:
    """Return why a worker must not consume a queue, or None.

    Args:
        conf: The settings of the app.
        queue: The name of the queue.
        exchange: The name of the exchange that it would be bound to, or None.
        routing_key: The key that it would be bound with, or None.
    """
    for value in (queue, exchange, routing_key):
        if not isinstance(value, str | None):
            return f"the name {log_text(value)} must be a string"
    if not queue:
        return "its name is empty"
    if queue == conf.get("PLATFORM_QUEUE_NAME"):
        return "it belongs to the task monitor"
    is_pattern = not _WILDCARDS.isdisjoint(str(routing_key).split("."))
    if exchange in (EXCHANGE, DELAYED_EXCHANGE) and is_pattern:
        return f"it would get copies of tasks, because it is bound by {routing_key!r}"
    return None


def _log_unreadable(message: Any, **_: Any) -> None:
    details = (message.headers or {}).get(UNREADABLE)
    if details is not None:
        log_rejected(message, "message", details)


def log_rejected(message: Any, kind: str, reason: object) -> None:
    """Log a rejected message; without a dead-letter queue this is its only trace.

    Secrets are masked. The arguments of a task are not logged, because the worker does
    not know which of them are secret.

    Args:
        message: The message that the worker rejects.
        kind: What it should have been: `message` or `task`.
        reason: Why it was rejected.
    """
    body = message.body or b""
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    shown = mask_fields(log_text(raw, MAX_LOGGED))
    if kind == "task":
        headers = message.headers or {}
        id, name = log_text(headers.get("id")), log_text(headers.get("task"))
        shown = f"{HIDDEN}; id {id}, name {name}"
    _logger.error(
        "rejected a malformed %s from queue %s: %s; %d bytes: %s",
        kind,
        log_text(message.delivery_info.get("routing_key")),
        mask_fields(log_text(reason)),
        len(raw),
        shown,
    )
