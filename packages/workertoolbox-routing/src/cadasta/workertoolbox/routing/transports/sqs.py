"""Transport `sqs`: Amazon SQS."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from cadasta.workertoolbox.routing._errors import RemoteControlUnavailable
from cadasta.workertoolbox.routing._extras import extra
from cadasta.workertoolbox.routing._transport_options import FIFO_ATTRIBUTES
from cadasta.workertoolbox.routing.transports._fifo import set_fifo_properties
from cadasta.workertoolbox.routing.transports._virtual import TaskTransport

with extra("sqs", "boto3"):
    from botocore.exceptions import BotoCoreError, ClientError
    from kombu.transport import SQS, virtual

    from cadasta.workertoolbox.routing.transports import _sqs_errors as errors
    from cadasta.workertoolbox.routing.transports._sqs_copies import (
        ConcurrentCopyChannel,
    )
    from cadasta.workertoolbox.routing.transports._sqs_polling import PollingChannel

#: Names of the queues of remote control and of events.
_CONTROL_QUEUE = re.compile(r"\.pidbox$|^celeryev\.")

#: Attributes without which a FIFO queue accepts 300 calls per second in all groups
#: together: "High throughput for FIFO queues" in the SQS developer guide.
_HIGH_THROUGHPUT = {
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}

#: Attribute with the number of times that SQS has delivered a message.
_RECEIVE_COUNT = "ApproximateReceiveCount"


class QoS(SQS.QoS):
    """The unacknowledged messages of a channel."""

    def apply_backoff_policy(self, queue: str, delivery_tag: str, *policy: Any) -> Any:
        """Delay a rejected message, unless it is not a task or not held any longer.

        kombu raises an error for those, which stops the worker.
        """
        if not self.is_backoff_task(delivery_tag):
            return None
        try:
            return super().apply_backoff_policy(queue, delivery_tag, *policy)
        except ClientError as error:
            if errors.is_stale(errors.code_of(error)):
                return None
            raise


class Channel(ConcurrentCopyChannel, PollingChannel):
    """kombu's channel, with copies at the same time and with FIFO properties."""

    QoS = QoS
    transient_errors = (OSError, ClientError, BotoCoreError)
    visibility_timeout = SQS.Channel.visibility_timeout

    @property
    def broadcasts(self) -> bool:
        """Whether SNS sends a message to each queue of a fanout exchange."""
        return bool(self.supports_fanout)

    @property
    def transport_options(self) -> dict[str, Any]:
        """The connection's options, copying `client-config`, which botocore edits."""
        client: Any = self.connection.client
        options: dict[str, Any] = client.transport_options or {}
        if config := options.get("client-config"):
            return {**options, "client-config": deepcopy(config)}
        return options

    def close(self) -> None:
        """Close the channel and its polls."""
        super().close()
        if client := vars(self.hub or object).get("_current_http_client"):
            # kombu's client for polls belongs to the event loop. After an error it may
            # wait for a timer that the worker has cleared when it lost the connection.
            del self.hub._current_http_client
            client.close()

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
            code = errors.code_of(error)
            if message.get("redelivered") and errors.is_stale(code):
                # The message is visible already, or its next receiver has deleted it.
                return
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

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        try:
            self._resolve_queue_url(queue)
        except SQS.DoesNotExistQueueException:
            return False
        return True

    def _delete(self, queue: str, *binding: Any, **kwargs: Any) -> None:
        # kombu calls this for each binding, and keeps the URL of a deleted queue if
        # names have a prefix.
        if self._has_queue(queue):
            super()._delete(queue, *binding, **kwargs)
            self._queue_cache.pop(self.canonical_queue_name(queue), None)

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
        try:
            return self.sqs(queue=queue_name).create_queue(
                QueueName=queue_name,
                Attributes=attributes,
                **({"tags": tags} if tags else {}),
            )
        except ClientError as error:
            if not errors.is_existing(errors.code_of(error)):
                raise
            # Another service has just created it with other attributes.
            self._update_queue_cache(queue_name)
            if queue_name not in self._queue_cache:
                raise
            return {"QueueUrl": self._queue_cache[queue_name]}


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
