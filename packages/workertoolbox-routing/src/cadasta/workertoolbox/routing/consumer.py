"""A worker's consumer that rejects malformed messages instead of stopping the worker.

Celery loads `Consumer` by its name, from the setting `worker_consumer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.exceptions import BackendError, InvalidTaskError
from celery.signals import task_rejected
from celery.utils.log import get_logger
from celery.worker import consumer
from celery.worker.state import reserved_requests
from kombu.asynchronous import set_event_loop

from cadasta.workertoolbox.routing._decompression import limit_decompression
from cadasta.workertoolbox.routing._headers import UNREADABLE
from cadasta.workertoolbox.routing._hidden_bodies import hide_bodies
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._refusal_pause import RefusalPause
from cadasta.workertoolbox.routing._suspects import (
    Suspects,
    is_redelivered,
    suspect_key,
)
from cadasta.workertoolbox.routing._task_message import find_problem
from cadasta.workertoolbox.routing._worker import find_queue_problem, log_rejected

_logger = get_logger(__name__)

_DELAYED_DELIVERY = "cadasta.workertoolbox.routing._delayed_delivery:DelayedDelivery"

#: Errors of a server or the machine, not of a message.
_OUTAGES = (BackendError, MemoryError, OSError)

#: Headers that are stored of a rejected task.
_IDENTITY = ("id", "task", "root_id", "parent_id", "group")

#: Longest id that Celery's result tables hold.
MAX_ID_LENGTH = 155


class Consumer(consumer.Consumer):
    """Celery's consumer, with a check of every message before Celery accepts it."""

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]
        """Celery's steps, with the one for native delays replaced."""

        default_steps = [
            _DELAYED_DELIVERY if step.endswith(":DelayedDelivery") else step
            for step in consumer.Consumer.Blueprint.default_steps
        ]

    # Attributes of Celery's class that `celery-types` does not know.
    hub: Any
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    def __init__(self, on_task_request: Callable[[Any], Any], **kwargs: Any) -> None:
        def process(request: Any) -> Any:
            try:
                return on_task_request(request)
            except Exception as error:
                self._record_failure(request, error)

        super().__init__(process, **kwargs)
        self._suspects = Suspects(self.app)
        self._refusal_pause = RefusalPause()
        hide_bodies()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Log the error, and connect again; end if the broker would refuse again."""
        self._end_if_permanent(exc)
        super().on_connection_error_before_connected(exc)
        self._wait_if_refused(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Log the error, and connect again; end if the broker would refuse again."""
        self._end_if_permanent(exc)
        super().on_connection_error_after_connected(exc)
        self._wait_if_refused(exc)

    @property
    def _transport(self) -> Any:
        # The class: to make an object may need a file descriptor, and none may be left.
        connection: Any = self.app.connection_for_read()
        return connection.get_transport_cls()

    def _end_if_permanent(self, error: Exception) -> None:
        is_permanent = getattr(self._transport, "is_permanent", None)
        if is_permanent is not None and is_permanent(error):
            raise error

    def _wait_if_refused(self, error: Exception) -> None:
        is_temporary = getattr(self._transport, "is_temporary", None)
        if is_temporary is not None and is_temporary(error):
            self._refusal_pause.wait()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return Celery's handler of messages with the check before it."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            if (problem := find_problem(message)) is not None:
                return self._reject(message, problem)
            _make_name_safe(message.headers)
            if is_redelivered(message):
                return self._handle_suspect(handle_safely, message)
            return handle_safely(message)

        def handle_safely(message: Any) -> Any:
            try:
                return handle(message)
            except Exception as error:
                if self._is_outage(error) or _is_accepted(message):
                    raise
                return self._reject(message, f"{type(error).__name__}: {error}")

        return on_task_received

    def _handle_suspect(self, handle: Callable[[Any], Any], message: Any) -> None:
        """Handle a message that was delivered before, unless it has ended two workers.

        Raises:
            BaseException: An error of the handler.
        """
        key = suspect_key(message)
        if self._suspects.begin(key):
            self._set_aside(message)
            return
        try:
            handle(message)
        except BaseException as error:
            # After other errors this worker ends, and leaves its mark.
            if not isinstance(error, Exception) or self._is_outage(error):
                self._suspects.end(key)
            raise
        self._suspects.end(key)

    def _set_aside(self, message: Any) -> None:
        """Reject a message for good, and pass it to the monitor for its quarantine."""
        problem = "it has ended two workers"
        monitor = self.app.conf.get("PLATFORM_QUEUE_NAME")
        if monitor is not None:
            headers = {**message.headers, UNREADABLE: {"error": problem}}
            headers.pop("compression", None)  # The body is decompressed.
            try:
                with self.app.producer_or_acquire() as producer:
                    producer.publish(
                        message.body,
                        exchange="",
                        routing_key=monitor,
                        headers=headers,
                        content_type=message.content_type,
                        content_encoding=message.content_encoding,
                        # SQS: not the id of the task's copy, which it would drop.
                        MessageDeduplicationId=str(uuid4()),
                    )
            except Exception as error:
                text = log_text(str(error))
                _logger.error("cannot pass a message to the monitor: %s", text)
        self._reject(message, problem)

    def connect(self) -> Any:
        """Connect, and consume every selected queue but the monitor queue."""
        if self.hub:
            # After an error in the loop Celery resets it, and kombu then knows none: a
            # new connection to SQS would never poll.
            set_event_loop(self.hub)
        monitor = self.app.conf.get("PLATFORM_QUEUE_NAME")
        if monitor is not None:
            self.app.amqp.queues.deselect([monitor])
        return super().connect()

    def add_task_queue(
        self,
        queue: Any,
        exchange: Any = None,
        exchange_type: Any = None,
        routing_key: Any = None,
        **options: Any,
    ) -> Any:
        """Consume a queue that a remote-control command names.

        Refuse the monitor queue, and a queue that would get copies of tasks. A queue
        that the broker refuses is not consumed again after a reconnect.

        Raises:
            ConnectionError: The broker has closed the channel or the connection.
        """
        problem = find_queue_problem(self.app.conf, queue, exchange, routing_key)
        if problem is not None:
            _logger.error("cannot consume queue %s: %s", log_text(queue), problem)
            return
        try:
            super().add_task_queue(
                queue, exchange, exchange_type, routing_key, **options
            )
        except Exception as error:
            if isinstance(error, OSError):
                raise
            self.app.amqp.queues.deselect([queue])
            text = log_text(str(error))
            _logger.error("cannot consume queue %s: %s", log_text(queue), text)
            # The loop reconnects after this error, and ends after others.
            raise ConnectionResetError(text) from error

    def connection_for_read(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection that decompresses messages up to a limit."""
        return limit_decompression(super().connection_for_read(*args, **kwargs))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Reject a message that cannot be decoded; Celery would acknowledge it."""
        self._reject(message, f"the body cannot be decoded: {exc}")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Reject a task that is not registered, and store its failure if possible."""
        try:
            super().on_unknown_task(body, message, exc)
        except Exception as error:
            if self._is_outage(error) or not message.acknowledged:
                raise
            id = log_text(message.headers.get("id"))
            _logger.error(
                "cannot store the failure of task %s: %s", id, log_text(error)
            )

    def _reject(self, message: Any, problem: str) -> None:
        log_rejected(message, "task", problem)
        message.reject_log_error(_logger, self.connection_errors)
        error = InvalidTaskError(problem)
        task_rejected.send(sender=self, message=message, exc=error)
        self._store_rejection(message.headers or {}, error)

    def _store_rejection(self, headers: dict[str, Any], error: Exception) -> None:
        """Store the task as failed if possible: it can no longer run."""
        texts = {name: headers.get(name) for name in _IDENTITY}
        texts = {name: text for name, text in texts.items() if isinstance(text, str)}
        id = texts.get("id")
        if not id or not id.isprintable() or len(id) > MAX_ID_LENGTH:
            return
        try:
            self.app.backend.mark_as_failure(id, error, request=Context(texts))
        except Exception as second:
            _logger.error("cannot store that task %s failed: %s", id, log_text(second))

    def _record_failure(self, request: Any, error: Exception) -> None:
        """Store an error of the code around a task as the failure of the task.

        Child processes return such an error to Celery, which stores it. The `solo` pool
        raises it in the worker.

        Raises:
            Exception: The error, if the pool has not begun to run the task.
        """
        if request.time_start is None or self._is_outage(error):
            raise error
        try:
            request.on_failure(ExceptionInfo(), send_failed_event=False)
        except Exception as second:
            if self._is_outage(second):
                raise
            id = log_text(request.id)
            _logger.error("cannot store that task %s failed: %s", id, log_text(second))

    def _is_outage(self, error: Exception) -> bool:
        errors = (*self.connection_errors, *self.channel_errors, *_OUTAGES)
        return isinstance(error, errors)


def _make_name_safe(headers: Any) -> None:
    """Escape the name that Celery logs, which a header can replace."""
    shadow = headers.get("shadow")
    if shadow and not shadow.isprintable():
        headers["shadow"] = log_text(shadow)


def _is_accepted(message: Any) -> bool:
    """Return whether Celery has accepted the message.

    A later error is not due to the message.
    """
    requests = tuple(reserved_requests)
    return message.acknowledged or any(each.message is message for each in requests)
