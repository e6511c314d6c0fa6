"""What every transport shares that emulates exchanges in the client.

On those, one publish is a put for each bound queue. kombu makes the puts in the order
of a set, and when the second fails the whole publish is tried again, so that a failing
monitor queue doubles the work. And it takes a message that was read and not
acknowledged to every queue that its routing key matches, so that the monitor's copy
becomes work. Here a task is put once, its copy is tried on its own, and a message
returns to the queue it was read from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from amqp.exceptions import RecoverableConnectionError
from kombu import Queue
from kombu.transport import virtual
from kombu.transport.virtual import exchange as exchanges

from cadasta.workertoolbox.routing._errors import CopyFailed, UnknownQueue
from cadasta.workertoolbox.routing._topology import EXCHANGE
from cadasta.workertoolbox.routing.transports._envelope import opened

_logger = logging.getLogger(__name__)

#: Where a pinned message keeps the routing key that it was published with.
ROUTING_KEY = "workertoolbox_routing_key"

#: Seconds before each new try of a put that failed for a passing reason: long enough
#: for a connection to be made anew, short enough for a caller to wait.
DELAYS_S = (0.1, 0.4)


class TopicExchange(exchanges.TopicExchange):
    """A topic exchange that tells a task from its copies.

    A queue bound by the very routing key is where the work goes; one bound by a
    pattern gets a copy.
    """

    def deliver(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        if exchange != EXCHANGE:
            super().deliver(message, exchange, routing_key, **kwargs)
            return
        channel = self.channel
        # What this connection has declared; what others have is theirs.
        table = channel.state.exchanges.get(exchange, {}).get("table", [])
        work = {queue for key, _, queue in table if key == routing_key}
        copies = {
            queue
            for _, pattern, queue in table
            if queue not in work and self._match(pattern, routing_key)
        }
        if not work:
            raise UnknownQueue(routing_key)
        channel.warn_of_redelivery(message)
        channel.put_task(message, sorted(work), sorted(copies), **kwargs)


class TaskChannel(virtual.Channel):
    """What a channel of ours does to messages of the task exchange."""

    exchange_types = {**virtual.Channel.exchange_types, "topic": TopicExchange}

    from_transport_options = (
        *virtual.Channel.from_transport_options,
        "copy_failure",
    )

    #: What to do when a copy cannot be put: `log` and go on, or `raise`.
    copy_failure = "log"

    #: Errors after which the same put may succeed.
    transient_errors: tuple[type[Exception], ...] = (OSError,)

    #: Seconds after which the broker delivers an unacknowledged message again.
    visibility_timeout: float | None = None

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        """Publish a message.

        Raises:
            RecoverableConnectionError: The channel is closed: kombu has connected anew
                to declare the queues, and publishes on the channel of before.
        """
        if self.connection is None:
            raise RecoverableConnectionError("the channel is closed")
        return super().basic_publish(message, exchange, routing_key, **kwargs)

    def put_task(
        self, message: dict[str, Any], work: list[str], copies: list[str], **kwargs: Any
    ) -> None:
        """Put a task into its queues, then a copy into the others.

        Raises:
            CopyFailed: A copy could not be put, and `copy_failure` is `raise`.
            Exception: The task could not be put; then nothing was.
        """
        for queue in work:
            self._put(queue, with_new_tag(message), **kwargs)
        for queue in copies:
            self.put_copy(queue, message, **kwargs)

    def put_copy(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Put a copy, several times if need be, without harm to the task itself.

        Raises:
            CopyFailed: It could not be put, and `copy_failure` is `raise`.
        """
        try:
            self.try_again(lambda: self._put(queue, with_new_tag(message), **kwargs))
        except Exception as error:
            # Whatever it is: the task has gone out, and must not go out again.
            id = message.get("headers", {}).get("id", "?")
            failure = CopyFailed(queue, str(id), repr(error))
            if self.copy_failure == "raise":
                raise failure from error
            _logger.error("%s", failure)

    def try_again(self, put: Callable[[], object]) -> None:
        """Make a put, and make it again after an error that may pass."""
        for delay_s in DELAYS_S:
            try:
                put()
                return
            except self.transient_errors as error:
                if not self.is_transient(error):
                    raise
                _logger.debug("put failed, trying again: %r", error)
                time.sleep(delay_s)
        put()

    def is_transient(self, error: Exception) -> bool:
        """Tell whether the same put may succeed a little later."""
        return isinstance(error, self.transient_errors)

    def bind_copies(self, monitor: Queue) -> None:
        """Bind a monitor queue that cannot be declared, so that copies are tried."""
        self.queue_bind(monitor.name, EXCHANGE, "#")

    def warn_of_redelivery(self, message: Mapping[str, Any]) -> None:
        """Warn once of an ETA that lies beyond the visibility timeout."""
        eta = message.get("headers", {}).get("eta")
        if not eta or self.visibility_timeout is None or self.connection.has_warned:
            return
        ahead_s = (_instant(eta) - datetime.now(UTC)).total_seconds()
        if ahead_s > self.visibility_timeout:
            self.connection.has_warned = True
            _logger.warning(
                "task %s is to run in %.0f s, but this broker delivers a message again "
                "after %.0f s without an acknowledgement: it may run several times; "
                'set broker_transport_options={"visibility_timeout": …} above the '
                "longest countdown",
                message["headers"].get("task"),
                ahead_s,
                self.visibility_timeout,
            )

    def open(self, raw: bytes | str, queue: str) -> dict[str, Any]:
        """Return the message that lies in a queue, whatever that is, for delivery."""
        message = self.pin(opened(raw), queue)
        # A tag that is forged, or that a copy of the message has too, would have one
        # acknowledged for another.
        message["properties"]["delivery_tag"] = str(uuid4())
        return message

    def pin(self, message: dict[str, Any], queue: str) -> dict[str, Any]:
        """Have a message return to the queue it was read from, if not acknowledged."""
        info = message["properties"]["delivery_info"]
        exchange, key = info.get("exchange"), info.get("routing_key")
        if (exchange, key) != ("", queue) and not self._is_of_others(exchange, key):
            info[ROUTING_KEY] = key
            # The default exchange, where a routing key is a queue's name. Celery's
            # retry knows this form too.
            info.update(exchange="", routing_key=queue)
        return message

    def _is_of_others(self, exchange: Any, key: Any) -> bool:
        return (
            isinstance(exchange, str)
            and isinstance(key, str)
            and exchange not in ("", EXCHANGE)
            and exchange in (self.state.exchanges or ())
        )

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        return self.pin(super()._get(queue), queue)


class TaskTransport(virtual.Transport):
    """What a transport of ours does to messages of the task exchange."""

    #: Whether this connection has warned of an ETA.
    has_warned = False


def with_new_tag(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message for one queue.

    A put may change what it puts. And Redis keeps what is not acknowledged under the
    delivery tag: with the same for task and copy, who acknowledges one loses the other.
    """
    properties = {**message["properties"], "delivery_tag": str(uuid4())}
    return {**message, "properties": properties}


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
