"""Transport `sqs`: Amazon SQS."""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from threading import Event
from typing import Any

from cadasta.workertoolbox.routing._errors import (
    CopyFailed,
    RemoteControlUnavailable,
)
from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing._headers import REFUSED
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._transport_options import FIFO_ATTRIBUTES
from cadasta.workertoolbox.routing.transports._fifo import set_fifo_properties
from cadasta.workertoolbox.routing.transports._virtual import (
    MAX_LOGGED,
    TaskChannel,
    TaskTransport,
    task_id,
    with_new_tag,
)

with extra("sqs", "boto3"):
    from botocore.exceptions import BotoCoreError, ClientError
    from kombu.transport import SQS, virtual

    from cadasta.workertoolbox.routing.transports import _sqs_errors as errors
    from cadasta.workertoolbox.routing.transports._sqs_polling import PollingChannel

_logger = logging.getLogger(__name__)

#: Names of the queues of remote control and of events.
_CONTROL_QUEUE = re.compile(r"\.pidbox$|^celeryev\.")

#: Attributes without which a FIFO queue accepts 300 calls per second in all groups
#: together: "High throughput for FIFO queues" in the SQS developer guide.
_HIGH_THROUGHPUT = {
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}

#: Seconds for which a copy waits for the answer to its task, if the queue may refuse
#: the task for good. Normally an answer takes about 20 ms.
_REFUSED_WITHIN_S = 1.0

#: Characters of a body from which SQS may refuse it. The limit of a message was 256 KiB
#: until August 2025, and is what the attribute `MaximumMessageSize` of a queue says.
_LARGE_BODY = 96 * 1024


#: Attribute with the number of times that SQS has delivered a message.
_RECEIVE_COUNT = "ApproximateReceiveCount"


class Channel(TaskChannel, PollingChannel):
    """kombu's channel, which publishes copies separately and fills in FIFO properties.

    A task and its copy are two requests. They are made at the same time, so a tracked
    publish takes the time of one request.
    """

    transient_errors = (OSError, ClientError, BotoCoreError)
    visibility_timeout = SQS.Channel.visibility_timeout

    @property
    def broadcasts(self) -> bool:
        """Whether SNS sends a message to each queue of a fanout exchange."""
        return bool(self.supports_fanout)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The thread that puts copies, with the id of the process that started it.
        self._copy_pool: tuple[int, ThreadPoolExecutor] | None = None
        #: The queues that have accepted the last task for them.
        self._accepting: set[str] = set()
        super().__init__(*args, **kwargs)

    @property
    def transport_options(self) -> dict[str, Any]:
        """The connection's options, copying `client-config`, which botocore edits."""
        client: Any = self.connection.client
        options: dict[str, Any] = client.transport_options or {}
        if config := options.get("client-config"):
            return {**options, "client-config": deepcopy(config)}
        return options

    def put_task(
        self, message: dict[str, Any], work: list[str], copies: list[str], **kwargs: Any
    ) -> None:
        """Put a task into its work queues, and at the same time its copies.

        If a queue may refuse the task for good, the copies wait a moment for its
        answer: a copy cannot be taken back. If one was put all the same, a second copy
        tells the monitor that the task was refused.

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put. A copy may have been put; the monitor
                recognizes the copy of the next try as the same.
        """
        answered, refused = Event(), Event()
        is_safe = self._accepting.issuperset(work) and not _is_large(message)
        if is_safe:
            answered.set()
        tries = [
            partial(self._copy_unless_refused, queue, message, answered, refused)
            for queue in copies
        ]
        futures = self._start(tries)
        try:
            for queue in work:
                self.retry(
                    lambda: self._put(queue, with_new_tag(message), **kwargs)  # noqa: B023
                )
            self._accepting.update(work)
        except BaseException as error:
            self._accepting.difference_update(work)
            refused.set()
            answered.set()
            # Wait: the caller may try again at once.
            outcomes = [future.result() for future in futures]
            copied = [
                queue
                for queue, failure in zip(copies, outcomes, strict=False)
                if failure is None
            ]
            if copied:
                self._withdraw(message, copied, error)
            raise
        answered.set()
        tried = futures or [_done(attempt()) for attempt in tries]
        for future in tried:
            if failure := future.result():
                self.report(failure)

    def _copy_unless_refused(
        self, queue: str, message: dict[str, Any], answered: Event, refused: Event
    ) -> CopyFailed | None:
        answered.wait(_REFUSED_WITHIN_S)
        if refused.is_set():
            return CopyFailed(queue, task_id(message), "the task was refused")
        return self.try_copy(queue, message)

    def _withdraw(
        self, message: dict[str, Any], copies: list[str], error: BaseException
    ) -> None:
        """Tell the monitor, which has the copy of a task, that the task was refused.

        After another error than a refusal, the task may have been sent or be sent
        again.
        """
        if errors.is_permanent(error):
            reason = log_text(str(error), MAX_LOGGED)
            headers = {**message["headers"], REFUSED: reason}
            withdrawal = {**message, "headers": headers}
            failures = [self.try_copy(queue, withdrawal) for queue in copies]
            if not any(failures):
                return
        _logger.warning(
            "task %s was not sent, but its copy for the monitor was, so the "
            "database shows it as waiting until it is sent again: %r",
            task_id(message),
            error,
        )

    def _start(self, tries: list[Any]) -> list[Future[CopyFailed | None]]:
        """Start the tries in another thread, if this process still can."""
        pool = self._pool_of_this_process()
        try:
            return [pool.submit(attempt) for attempt in tries]
        except RuntimeError:
            # Python is shutting down, and starts no threads any more.
            return []

    def _pool_of_this_process(self) -> ThreadPoolExecutor:
        # A forked child inherits the object, but not its thread.
        if self._copy_pool is None or self._copy_pool[0] != os.getpid():
            pool = ThreadPoolExecutor(1, thread_name_prefix="workertoolbox-copy")
            self._copy_pool = (os.getpid(), pool)
        return self._copy_pool[1]

    def close(self) -> None:
        """Close the channel, its polls, and the thread that puts copies."""
        super().close()
        if client := vars(self.hub or object).get("_current_http_client"):
            # kombu's client for polls belongs to the event loop. After an error it may
            # wait for a timer that the worker has cleared when it lost the connection.
            del self.hub._current_http_client
            client.close()
        if self._copy_pool and self._copy_pool[0] == os.getpid():
            self._copy_pool[1].shutdown()
        self._copy_pool = None

    def is_transient(self, error: Exception) -> bool:
        """Return whether AWS throttled or failed a request, or was not reached."""
        return errors.is_unsent(error)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        if queue.endswith(".fifo"):
            set_fifo_properties(message)
        # kombu removes the attributes from the properties, which are sent again.
        properties = dict(message["properties"])
        try:
            super()._put(queue, message, **kwargs)
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if self.predefined_queues or not errors.is_missing(code):
                raise
            # Somebody has deleted the queue.
            self._queue_cache.pop(self.canonical_queue_name(queue), None)
            super()._put(queue, {**message, "properties": properties}, **kwargs)

    def asynsqs(self, queue: str | None = None) -> Any:
        """Return kombu's client for polls, with errors of AWS instead of its own."""
        client = super().asynsqs(queue=queue)
        client._for_status = errors.error_of_poll
        return client

    def _message_to_python(self, message: Any, queue_name: str, q_url: str) -> Any:
        # kombu calls this for every message, with and without the event loop.
        body = self._decode_python_message_body(message["Body"])
        payload = self.read_message(body, queue_name)
        if int((message.get("Attributes") or {}).get(_RECEIVE_COUNT, 1)) > 1:
            payload["properties"]["delivery_info"]["redelivered"] = True
        if queue_name in self._noack_queues:
            self._delete_message(queue_name, message)
            return payload
        return self._envelope_payload(payload, None, message, q_url)

    def _on_messages_ready(self, queue: str, qname: str, messages: Any) -> Any:
        # A poll that is cut off or returns status 5xx yields an empty list, on which
        # kombu's own method fails and stops the worker.
        errors.remember_answer(queue)
        return super()._on_messages_ready(queue, qname, messages or {})

    def _new_queue(self, queue: str, **kwargs: Any) -> Any:
        if _CONTROL_QUEUE.search(queue) and not self.supports_fanout:
            raise RemoteControlUnavailable(queue)
        return super()._new_queue(queue, **kwargs)

    def _new_boto_client(self, service: str, *args: Any, **kwargs: Any) -> Any:
        client = super()._new_boto_client(service, *args, **kwargs)
        if service == "sqs":
            errors.watch(client)
        return client

    def _create_queue(self, queue_name: str, attributes: dict[str, str]) -> Any:
        if self.predefined_queues:
            return super()._create_queue(queue_name, attributes)
        options = self.transport_options
        extra = options.get("sqs-creation-attributes") or {}
        if queue_name.endswith(".fifo"):
            attributes = {**attributes, **_HIGH_THROUGHPUT, **extra}
        else:
            standard = {key: extra[key] for key in extra.keys() - FIFO_ATTRIBUTES}
            attributes = {**attributes, **standard}
        tags = options.get("queue_tags")
        return self.sqs(queue=queue_name).create_queue(
            QueueName=queue_name,
            Attributes=attributes,
            **({"tags": tags} if tags else {}),
        )


class Transport(TaskTransport, SQS.Transport):
    """kombu's transport with the channel above.

    Temporary errors of AWS count as connection errors: consumers reconnect, and Celery
    publishes again according to its retry policy. With kombu's transport such a
    response stops a consumer. Permanent ones, such as a missing permission, reach the
    caller and stop a consumer.
    """

    Channel = Channel
    connection_errors: Any = (
        *virtual.Transport.connection_errors,
        *errors.NETWORK_ERRORS,
        errors.TemporaryError,
    )
    refusals = (ClientError, BotoCoreError)
    channel_errors: Any = virtual.Transport.channel_errors

    @staticmethod
    def is_permanent(error: BaseException) -> bool:
        """Return whether the broker refuses this service for good."""
        return errors.is_permanent(error)

    @staticmethod
    def is_temporary(error: BaseException) -> bool:
        """Return whether the broker answers, but refuses for now."""
        return isinstance(error, errors.TemporaryError)


def _done(outcome: CopyFailed | None) -> Future[CopyFailed | None]:
    future: Future[CopyFailed | None] = Future()
    future.set_result(outcome)
    return future


def _is_large(message: dict[str, Any]) -> bool:
    return len(message.get("body") or "") > _LARGE_BODY
