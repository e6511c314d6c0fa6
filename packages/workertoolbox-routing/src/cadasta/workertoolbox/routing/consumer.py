"""A worker's consumer that rejects malformed messages instead of stopping the worker.

Celery loads `Consumer` by its name, from the setting `worker_consumer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.signals import task_rejected
from celery.utils.log import get_logger
from celery.worker import consumer
from celery.worker.state import reserved_requests

from cadasta.workertoolbox.routing._worker import log_rejected

_logger = get_logger(__name__)

_DELAYED_DELIVERY = "cadasta.workertoolbox.routing._delayed_delivery:DelayedDelivery"

#: Errors that Celery raises on a message of an unexpected shape.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

#: Most characters of a header that are logged.
_MAX_LOGGED = 300


class Consumer(consumer.Consumer):
    """Celery's consumer, with a check of every message before Celery accepts it."""

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]
        """Celery's steps, with the one for native delays replaced."""

        default_steps = [
            _DELAYED_DELIVERY if step.endswith(":DelayedDelivery") else step
            for step in consumer.Consumer.Blueprint.default_steps
        ]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return Celery's handler of messages with the check before it."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            if (problem := _find_problem(message)) is not None:
                return self._reject(message, ValueError(problem))
            try:
                return handle(message)
            except _MALFORMED as error:
                if _is_accepted(message):
                    raise
                return self._reject(message, error)

        return on_task_received

    def _reject(self, message: Any, error: Exception) -> None:
        log_rejected(message, "task", f"{type(error).__name__}: {error}")
        message.reject_log_error(_logger, self.connection_errors)  # type: ignore[attr-defined]
        task_rejected.send(sender=self, message=message, exc=error)


def _find_problem(message: Any) -> str | None:
    """Return what is wrong with a task message, or None.

    The checks cover mistakes on which Celery would fail only after it has accepted the
    message, or in the pool. Celery itself logs and rejects a message without a task.
    """
    body = _decoded_body(message)
    headers = message.headers or {}
    if isinstance(body, dict):
        headers = {**body, **headers}
    if "task" not in headers:
        return None
    for name, kinds in (("task", str), ("id", str), ("shadow", str | None)):
        if not isinstance(value := headers.get(name), kinds):
            return f"{name!r} must be a string, got {_shortened(value)}"
    limits = headers.get("timelimit")
    if limits and not _is_time_limit(limits):
        return f"'timelimit' must be two numbers, got {_shortened(limits)}"
    match body:
        case [_, _, embed] if embed and not isinstance(embed, dict):
            return "the third item of the body must be an object"
    return None


def _decoded_body(message: Any) -> Any:
    """Return the body, or None if it cannot be decoded; Celery logs that itself."""
    try:
        return message.decode()
    except Exception:
        return None


def _is_time_limit(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(limit, int | float | None) for limit in value)
    )


def _shortened(value: Any) -> str:
    return repr(value)[:_MAX_LOGGED]


def _is_accepted(message: Any) -> bool:
    """Return whether Celery has accepted the message.

    A later error is not due to the message.
    """
    requests = tuple(reserved_requests)
    return message.acknowledged or any(each.message is message for each in requests)
