"""Transport `sqs`: Amazon SQS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from hashlib import sha256
from typing import Any

from cadasta.workertoolbox.routing._errors import RemoteControlUnavailable
from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing._transport_options import FIFO_ATTRIBUTES
from cadasta.workertoolbox.routing.transports._virtual import (
    TaskChannel,
    TaskTransport,
    with_new_tag,
)

with extra("sqs", "boto3"):
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionClosedError,
        ConnectTimeoutError,
        EndpointConnectionError,
    )
    from kombu.transport import SQS

#: Error codes with which AWS throttles requests: "Error handling in AWS SDKs".
_THROTTLED = re.compile("Throttl|TooManyRequests|RequestLimitExceeded|OverLimit")

#: A message group id or deduplication id: 1 to 128 letters, digits and punctuation
#: marks, according to the API reference of SendMessage.
_VALID_ID = re.compile(r"[!-~]{1,128}")

#: Names of the queues of remote control and of events.
_CONTROL_QUEUE = re.compile(r"\.pidbox$|^celeryev\.")

#: Attributes without which a FIFO queue accepts 300 calls per second in all groups
#: together: "High throughput for FIFO queues" in the SQS developer guide.
_HIGH_THROUGHPUT = {
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}

#: Operations that need the whole response. The others have had their effect when the
#: status arrives, and a truncated response must not make the client send again.
_READ_OPERATIONS = ("CreateQueue", "GetQueueAttributes", "ListQueues", "ReceiveMessage")


#: Attribute with the number of times that SQS has delivered a message.
_RECEIVE_COUNT = "ApproximateReceiveCount"


class Channel(TaskChannel, SQS.Channel):
    """kombu's channel, which publishes copies separately and fills in FIFO properties.

    A task and its copy are two requests. They are made at the same time, so a tracked
    publish takes the time of one request.
    """

    transient_errors = (OSError, ClientError, BotoCoreError)
    visibility_timeout = SQS.Channel.visibility_timeout

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The thread that puts copies, with the id of the process that started it.
        self._copy_pool: tuple[int, ThreadPoolExecutor] | None = None
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

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put. A copy may have been put; the monitor
                recognizes the copy of the next try as the same.
        """
        with self._copies_in_parallel(message, copies):
            for queue in work:
                self.retry(
                    lambda: self._put(queue, with_new_tag(message), **kwargs)  # noqa: B023
                )

    @contextmanager
    def _copies_in_parallel(
        self, message: dict[str, Any], copies: list[str]
    ) -> Iterator[None]:
        pool = self._pool_of_this_process()
        futures = [pool.submit(self.put_copy, queue, message) for queue in copies]
        try:
            yield
        except BaseException:
            for future in futures:
                future.exception()  # wait: the caller may try again at once
            raise
        for future in futures:
            future.result()

    def _pool_of_this_process(self) -> ThreadPoolExecutor:
        # A forked child inherits the object, but not its thread.
        if self._copy_pool is None or self._copy_pool[0] != os.getpid():
            pool = ThreadPoolExecutor(1, thread_name_prefix="workertoolbox-copy")
            self._copy_pool = (os.getpid(), pool)
        return self._copy_pool[1]

    def close(self) -> None:
        """Close the channel, and end the thread that puts copies."""
        super().close()
        if self._copy_pool and self._copy_pool[0] == os.getpid():
            self._copy_pool[1].shutdown()
        self._copy_pool = None

    def is_transient(self, error: Exception) -> bool:
        """Return whether AWS throttled or failed a request, or was not reached."""
        if isinstance(error, ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            return status >= 500 or status == 429 or bool(_THROTTLED.search(code))
        # After other errors the request may have reached AWS; botocore retries those.
        return isinstance(error, EndpointConnectionError | ConnectTimeoutError)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        if queue.endswith(".fifo"):
            _set_fifo_properties(message)
        super()._put(queue, message, **kwargs)

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
        return super()._on_messages_ready(queue, qname, messages or {})

    def _new_queue(self, queue: str, **kwargs: Any) -> Any:
        if _CONTROL_QUEUE.search(queue) and not self.supports_fanout:
            raise RemoteControlUnavailable(queue)
        return super()._new_queue(queue, **kwargs)

    def _new_boto_client(self, service: str, *args: Any, **kwargs: Any) -> Any:
        client = super()._new_boto_client(service, *args, **kwargs)
        for operation in _READ_OPERATIONS:
            client.meta.events.register(f"after-call.sqs.{operation}", _check_complete)
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

    An error response of AWS counts as a connection error: consumers reconnect, and
    Celery publishes again according to its retry policy. With kombu's transport, such a
    response stops a consumer.
    """

    Channel = Channel
    connection_errors = (*SQS.Transport.connection_errors, ClientError)
    channel_errors = (*SQS.Transport.channel_errors, ClientError)


def _check_complete(http_response: Any, **_: Any) -> None:
    """Refuse a truncated response, which botocore takes for an empty one.

    Raises:
        ConnectionClosedError: The connection ended after the status line; the caller
            may repeat the request on a new one.
    """
    # If the header is missing, the response was cut off before the body: expect a byte.
    expected = int(http_response.headers.get("Content-Length") or 1)
    if len(http_response.content) < expected:
        raise ConnectionClosedError(endpoint_url=http_response.url)


def _set_fifo_properties(message: dict[str, Any]) -> None:
    """Set the group and the deduplication id of a task message for a FIFO queue.

    The group is the workflow: its tasks keep their order, and other tasks do not wait
    for them. A message that is sent again within five minutes is a duplicate; a retry
    of the task is not.
    """
    headers = message.get("headers") or {}
    id = headers.get("id")
    if not id:
        return
    properties = message["properties"]
    root = str(headers.get("root_id") or id)
    nesting = headers.get("replaced_task_nesting") or 0
    attempt = f"{id}:{nesting}:{headers.get('retries') or 0}"
    properties.setdefault("MessageGroupId", _valid_id(root))
    properties.setdefault("MessageDeduplicationId", _valid_id(attempt))


def _valid_id(text: str) -> str:
    return text if _VALID_ID.fullmatch(text) else sha256(text.encode()).hexdigest()
