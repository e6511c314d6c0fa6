"""Workers reject what no task can be made of, and go on; Celery's own would end.

Celery starts `Consumer` by its name, in the setting `worker_consumer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.signals import task_rejected
from celery.utils.log import get_logger
from celery.worker import consumer
from celery.worker.state import reserved_requests

from cadasta.workertoolbox.routing._worker import show_rejected

_logger = get_logger(__name__)

#: What Celery makes of a message that is shaped otherwise than it expects.
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

#: Most characters of a header that are shown.
_MAX_SHOWN = 300


class Consumer(consumer.Consumer):
    """Celery's, but for messages that it fails on."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        take = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            if (problem := _problem(message)) is not None:
                return self._reject(message, ValueError(problem))
            try:
                return take(message)
            except _MISFITS as error:
                if _is_taken(message):
                    raise
                return self._reject(message, error)

        return on_task_received

    def _reject(self, message: Any, error: Exception) -> None:
        show_rejected(message, "task", f"{type(error).__name__}: {error}")
        message.reject_log_error(_logger, self.connection_errors)  # type: ignore[attr-defined]
        task_rejected.send(sender=self, message=message, exc=error)


def _problem(message: Any) -> str | None:
    """Return what is wrong with a task; None where nothing is, or Celery tells of it.

    This is what Celery fails on after it has taken the message, or in its pool.
    """
    body = _body(message)
    headers = message.headers or {}
    if isinstance(body, dict):
        headers = {**body, **headers}
    if "task" not in headers:
        return None
    for name, kinds in (("task", str), ("id", str), ("shadow", str | None)):
        if not isinstance(value := headers.get(name), kinds):
            return f"its {name} is {_shown(value)}, and no text"
    limits = headers.get("timelimit")
    if limits and not _are_limits(limits):
        return f"its timelimit is {_shown(limits)}, and no two numbers of seconds"
    match body:
        case [_, _, steps] if steps and not isinstance(steps, dict):
            return "what follows after its arguments is no object"
    return None


def _body(message: Any) -> Any:
    """Return the body, which Celery decodes anyway; None where it cannot be decoded."""
    try:
        return message.decode()
    except Exception:
        # Celery tells of it in its own words.
        return None


def _are_limits(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(limit, int | float | None) for limit in value)
    )


def _shown(value: Any) -> str:
    return repr(value)[:_MAX_SHOWN]


def _is_taken(message: Any) -> bool:
    """Tell whether Celery has gone so far that the failure is none of the message's."""
    requests = tuple(reserved_requests)
    return message.acknowledged or any(each.message is message for each in requests)
