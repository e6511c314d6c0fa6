"""Puts of tasks and of their copies, on transports that make the copies themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from kombu.transport import virtual

from cadasta.workertoolbox.routing._errors import CopyFailed
from cadasta.workertoolbox.routing._log_text import log_text

_logger = logging.getLogger(__name__)

#: Seconds before each retry of a put that failed with a transient error: long enough
#: for a new connection, short enough for a caller to wait.
RETRY_DELAYS_S = (0.1, 0.4)

#: Maximum number of characters of the error of a copy that are logged.
MAX_LOGGED = 1000


class CopyingChannel(virtual.Channel):
    """A channel that puts a task once, and retries its copies separately."""

    from_transport_options = (
        *virtual.Channel.from_transport_options,
        "copy_failure",
    )

    #: What to do when a copy cannot be put: `log` and go on, or `raise`.
    copy_failure = "log"

    #: Errors after which the same put may succeed.
    transient_errors: tuple[type[Exception], ...] = (OSError,)

    def put_task(
        self, message: dict[str, Any], work: list[str], copies: list[str], **kwargs: Any
    ) -> None:
        """Put a task into its work queues, then a copy into each other queue.

        Args:
            message: The message as kombu prepares it.
            work: Names of the queues that get the task.
            copies: Names of the queues that get a copy.

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put; no copy was put either.
        """
        for queue in work:
            self._put(queue, with_new_tag(message), **kwargs)
        for queue in copies:
            self.put_copy(queue, message, **kwargs)

    def put_copy(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Put a copy, with retries, and log an error if it fails.

        Raises:
            CopyFailed: The copy could not be put, and `copy_failure` is `raise`.
        """
        if failure := self.try_copy(queue, message, **kwargs):
            self.report(failure)

    def try_copy(
        self, queue: str, message: dict[str, Any], **kwargs: Any
    ) -> CopyFailed | None:
        """Put a copy, with retries, and return the failure, if there is one."""
        try:
            self.retry(lambda: self._put(queue, with_new_tag(message), **kwargs))
        except Exception as error:
            # Any error: the task has been sent, and the caller must not send it again.
            failure = CopyFailed(queue, task_id(message), repr(error))
            failure.__cause__ = error
            return failure
        return None

    def report(self, failure: CopyFailed) -> None:
        """Log that a task has been sent without its copy, or raise the error.

        Raises:
            CopyFailed: `copy_failure` is `raise`.
        """
        if self.copy_failure == "raise":
            raise failure
        _logger.error("%s", log_text(str(failure), MAX_LOGGED))

    def retry(self, put: Callable[[], object]) -> None:
        """Call a function that puts a message, and repeat it after transient errors."""
        for delay_s in RETRY_DELAYS_S:
            try:
                put()
                return
            except self.transient_errors as error:
                if not self.is_transient(error):
                    raise
                _logger.debug("put failed, retrying: %r", error)
                time.sleep(delay_s)
        put()

    def is_transient(self, error: Exception) -> bool:
        """Return whether the same put may succeed a little later."""
        return isinstance(error, self.transient_errors)


def task_id(message: Mapping[str, Any]) -> str:
    """Return the id of the task of a message, or a question mark."""
    return str((message.get("headers") or {}).get("id", "?"))


def with_new_tag(message: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a message with a delivery tag of its own, for one queue.

    A put may modify the message. And Redis stores unacknowledged messages by delivery
    tag: if a task and its copy had the same, acknowledging one would remove the other.
    """
    properties = {**message["properties"], "delivery_tag": str(uuid4())}
    return {**message, "properties": properties}
