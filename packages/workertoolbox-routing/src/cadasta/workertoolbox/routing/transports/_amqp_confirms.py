"""Wait for RabbitMQ on a connection, with a bound, and keep track of its confirms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from celery._state import get_current_worker_task

from cadasta.workertoolbox.routing._log_text import log_text

_logger = logging.getLogger(__name__)


class Confirms:
    """The confirms of one channel, by delivery tag.

    RabbitMQ confirms every message of a channel in confirm mode, also events, whose
    publisher does not wait. A confirm must not be taken for that of another
    message.
    """

    def __init__(self) -> None:
        #: The delivery tag of the last message: RabbitMQ counts from 1.
        self._last_tag = 0
        self._is_accepted: bool | None = None

    def restart(self) -> None:
        """Count from the beginning: the channel has been opened again."""
        self._last_tag = 0

    def expect(self) -> None:
        """Count a message that is about to be published, and forget earlier ones."""
        self._last_tag += 1
        self._is_accepted = None

    def accept(self, delivery_tag: int, multiple: bool) -> None:
        """Handle `basic.ack`."""
        self._settle(delivery_tag, multiple, True)

    def refuse(self, delivery_tag: int, multiple: bool) -> None:
        """Handle `basic.nack`."""
        self._settle(delivery_tag, multiple, False)

    def _settle(self, delivery_tag: int, multiple: bool, is_accepted: bool) -> None:
        if delivery_tag == self._last_tag or (
            multiple and not 0 < delivery_tag < self._last_tag
        ):
            self._is_accepted = is_accepted

    def is_settled(self) -> bool:
        """Return whether the last message was accepted or refused."""
        return self._is_accepted is not None

    def is_refused(self) -> bool:
        """Return whether the last message was refused."""
        return self._is_accepted is False


def wait_until(
    connection: Any, condition: Callable[[], bool], *, bound_s: float
) -> bool:
    """Read from a connection until a condition holds.

    Args:
        connection: A connection of the transport `amqp`.
        condition: What the broker's next frames should make true.
        bound_s: Seconds to wait. Infinity is for workers; see `publish_bound_s`.

    Returns:
        Whether the condition holds.
    """
    started_at = monotonic()
    deadline = started_at + bound_s
    warn_at = started_at + connection.confirm_timeout_s
    while not condition():
        now = monotonic()
        if now >= deadline:
            return False
        if now >= warn_at:
            _warn(connection, now - started_at)
            warn_at = inf
        try:
            connection.blocking_read(min(deadline, warn_at, now + 60) - now)
        except TimeoutError:
            pass
    return True


def _warn(connection: Any, waited_s: float) -> None:
    reason = (
        f"it has an alarm ({connection.alarm}) and blocks publishers"
        if connection.alarm
        else "it does not answer"
    )
    _logger.warning(
        "RabbitMQ has not confirmed a message of this task for %.0f s: %s; "
        "the task goes on when it does",
        waited_s,
        log_text(reason),
    )


def publish_bound_s(connection: Any) -> float:
    """Return how many seconds a publish may wait for RabbitMQ.

    Within a task of a worker the wait is unlimited: Celery would lose the next step of
    a chain or a retry after an error, and a worker can wait.
    """
    task: Any = get_current_worker_task()
    if task is not None and not task.request.is_eager:
        return inf
    bound_s: float = connection.confirm_timeout_s
    return bound_s
