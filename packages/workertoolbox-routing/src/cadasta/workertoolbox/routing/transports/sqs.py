"""Amazon SQS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from hashlib import sha256
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
)
from kombu.transport import SQS

from cadasta.workertoolbox.routing._errors import RemoteControlUnavailable
from cadasta.workertoolbox.routing.transports._virtual import (
    TaskChannel,
    TaskTransport,
    with_new_tag,
)

#: What AWS answers when it is asked too often: "Error handling in AWS SDKs".
_THROTTLED = re.compile("Throttl|TooManyRequests|RequestLimitExceeded|OverLimit")

#: A message group id or deduplication id: 1 to 128 letters, digits and punctuation
#: marks, as the reference of SendMessage has it.
_ID = re.compile(r"[!-~]{1,128}")

#: Queues of remote control and of events.
_OF_CONTROL = re.compile(r"\.pidbox$|^celeryev\.")

#: Attributes that SQS takes for FIFO queues only.
_FIFO_ONLY = {
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
}

#: Without these a FIFO queue takes 300 calls a second, whatever its groups: "High
#: throughput for FIFO queues" in the SQS developer guide.
_HIGH_THROUGHPUT = {
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}

#: What is asked for its answer. The others have done their work once a status comes,
#: and a message must not be sent again for the rest of it.
_QUESTIONS = ("CreateQueue", "GetQueueAttributes", "ListQueues", "ReceiveMessage")


class Channel(TaskChannel, SQS.Channel):
    """kombu's channel, with tasks and copies kept apart, and FIFO queues in order.

    A task and its copy are two requests; they are made at the same time, so that a
    tracked publish takes the time of one.
    """

    transient_errors = (OSError, ClientError, BotoCoreError)
    visibility_timeout = SQS.Channel.visibility_timeout

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._copier: tuple[int, ThreadPoolExecutor] | None = None
        super().__init__(*args, **kwargs)

    @property
    def transport_options(self) -> dict[str, Any]:
        """The connection's, with what botocore writes to as a copy."""
        client: Any = self.connection.client
        options: dict[str, Any] = client.transport_options or {}
        if config := options.get("client-config"):
            return {**options, "client-config": deepcopy(config)}
        return options

    def put_task(
        self, message: dict[str, Any], work: list[str], copies: list[str], **kwargs: Any
    ) -> None:
        with self._at_the_same_time(message, copies):
            for queue in work:
                self.try_again(
                    lambda: self._put(queue, with_new_tag(message), **kwargs)  # noqa: B023
                )

    @contextmanager
    def _at_the_same_time(
        self, message: dict[str, Any], copies: list[str]
    ) -> Iterator[None]:
        pool = self._pool()
        copying = [pool.submit(self.put_copy, queue, message) for queue in copies]
        try:
            yield
        except BaseException:
            for future in copying:
                future.exception()  # nothing is under way when the caller tries again
            raise
        for future in copying:
            future.result()

    def _pool(self) -> ThreadPoolExecutor:
        # A forked child has the object, but not its thread.
        if self._copier is None or self._copier[0] != os.getpid():
            pool = ThreadPoolExecutor(1, thread_name_prefix="workertoolbox-copy")
            self._copier = (os.getpid(), pool)
        return self._copier[1]

    def close(self) -> None:
        super().close()
        if self._copier and self._copier[0] == os.getpid():
            self._copier[1].shutdown()
        self._copier = None

    def is_transient(self, error: Exception) -> bool:
        """Tell whether AWS has refused a request for now, or was not reached."""
        if isinstance(error, ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            return status >= 500 or status == 429 or bool(_THROTTLED.search(code))
        # Others may have reached it; botocore itself decides about those.
        return isinstance(error, EndpointConnectionError | ConnectTimeoutError)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        if queue.endswith(".fifo"):
            _put_in_order(message)
        super()._put(queue, message, **kwargs)

    def _message_to_python(self, message: Any, queue_name: str, q_url: str) -> Any:
        # On every way in, that of the event loop too.
        body = self._decode_python_message_body(message["Body"])
        payload = self.open(body, queue_name)
        if queue_name in self._noack_queues:
            self._delete_message(queue_name, message)
            return payload
        return self._envelope_payload(payload, None, message, q_url)

    def _on_messages_ready(self, queue: str, qname: str, messages: Any) -> Any:
        # A poll that is cut off, or that AWS answers with 5xx, gives an empty list,
        # on which kombu's own ends the worker.
        return super()._on_messages_ready(queue, qname, messages or {})

    def _new_queue(self, queue: str, **kwargs: Any) -> Any:
        if _OF_CONTROL.search(queue) and not self.supports_fanout:
            raise RemoteControlUnavailable(queue)
        return super()._new_queue(queue, **kwargs)

    def _new_boto_client(self, service: str, *args: Any, **kwargs: Any) -> Any:
        client = super()._new_boto_client(service, *args, **kwargs)
        for operation in _QUESTIONS:
            client.meta.events.register(f"after-call.sqs.{operation}", _check_whole)
        return client

    def _create_queue(self, queue_name: str, attributes: dict[str, str]) -> Any:
        if self.predefined_queues:
            return super()._create_queue(queue_name, attributes)
        options = self.transport_options
        extra = options.get("sqs-creation-attributes") or {}
        if queue_name.endswith(".fifo"):
            attributes = {**attributes, **_HIGH_THROUGHPUT, **extra}
        else:
            others = {key: extra[key] for key in extra.keys() - _FIFO_ONLY}
            attributes = {**attributes, **others}
        tags = options.get("queue_tags")
        return self.sqs(queue=queue_name).create_queue(
            QueueName=queue_name,
            Attributes=attributes,
            **({"tags": tags} if tags else {}),
        )


class Transport(TaskTransport, SQS.Transport):
    """kombu's transport with the channel above.

    What AWS answers counts as an error of the connection: consumers connect anew, and
    Celery publishes again, as its retry policy says. kombu's ends on it.
    """

    Channel = Channel
    connection_errors = (*SQS.Transport.connection_errors, ClientError)
    channel_errors = (*SQS.Transport.channel_errors, ClientError)


def _check_whole(http_response: Any, **_: Any) -> None:
    """Refuse an answer that broke off, which botocore takes for one that says nothing.

    Raises:
        ConnectionClosedError: The connection ended after the status line; whoever asked
            may ask again on a new one.
    """
    # Without the header the end of the headers is missing, and all of the body.
    expected = int(http_response.headers.get("Content-Length") or 1)
    if len(http_response.content) < expected:
        raise ConnectionClosedError(endpoint_url=http_response.url)


def _put_in_order(message: dict[str, Any]) -> None:
    """Say which order a FIFO queue has to keep, and what is the same message.

    Tasks of one workflow keep their order, others need not wait for them. A message
    that is sent again within five minutes is the same; a retry of the task is not.
    """
    headers = message.get("headers") or {}
    id = headers.get("id")
    if not id:
        return
    properties = message["properties"]
    root = str(headers.get("root_id") or id)
    nesting = headers.get("replaced_task_nesting") or 0
    same = f"{id}:{nesting}:{headers.get('retries') or 0}"
    properties.setdefault("MessageGroupId", _id(root))
    properties.setdefault("MessageDeduplicationId", _id(same))


def _id(text: str) -> str:
    return text if _ID.fullmatch(text) else sha256(text.encode()).hexdigest()
