"""Base of the transports that emulate exchanges in the client.

On these transports, publishing is one put for each bound queue. kombu makes the puts in
the order of a set. If the second one fails, the whole publish is tried again, so a
failing monitor queue duplicates the task. And kombu returns an unacknowledged message
to every queue that its routing key matches, so the monitor's copy becomes a task.

Here a task is put once, its copy is retried separately, and a message returns to the
queue that it was read from.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from amqp.exceptions import RecoverableConnectionError
from kombu import Queue
from kombu.transport import virtual

from cadasta.workertoolbox.routing._forks import track
from cadasta.workertoolbox.routing._headers import ROUTING_KEY
from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._task_queue import (
    EXCHANGE,
    MonitorQueue,
    bindings_of,
)
from cadasta.workertoolbox.routing.transports._copies import CopyingChannel
from cadasta.workertoolbox.routing.transports._envelope import parse_envelope
from cadasta.workertoolbox.routing.transports._exchanges import EXCHANGE_TYPES
from cadasta.workertoolbox.routing.transports._purging import PurgingChannel

_logger = logging.getLogger(__name__)


class TaskChannel(PurgingChannel, CopyingChannel):
    """A channel that publishes copies separately and pins messages to their queue."""

    exchange_types = {**virtual.Channel.exchange_types, **EXCHANGE_TYPES}

    #: Whether the broker itself sends a message to each queue of a fanout exchange.
    broadcasts = False

    #: Seconds after which the broker delivers an unacknowledged message again.
    visibility_timeout: float | None = None

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        """Publish a message.

        Raises:
            RecoverableConnectionError: The channel is closed: kombu reconnected to
                declare the queues, but publishes on the old channel.
        """
        if self.connection is None:
            raise RecoverableConnectionError("the channel is closed")
        return super().basic_publish(message, exchange, routing_key, **kwargs)

    def declare_task_queue(self, queue: Queue, *, strict: bool = False) -> None:
        """Declare and bind a queue, without asking the broker how long it is.

        Args:
            strict: Without effect: these brokers do not compare arguments.
        """
        for each in bindings_of(queue):
            each.exchange(self).declare()
        arguments = dict(queue.queue_arguments or {})
        self._new_queue(queue.name, auto_delete=queue.auto_delete, arguments=arguments)
        self.bind_declared(queue)

    def bind_declared(self, queue: Queue) -> None:
        """Bind a queue whose exchanges are declared.

        To a topic exchange the monitor queue is bound as on AMQP, so that producers
        without the toolbox send it copies too. On the others, the client makes them.
        """
        for each in bindings_of(queue):
            exchange = each.exchange
            copies = self.connection.copies.setdefault(exchange.name, set())
            if isinstance(queue, MonitorQueue):
                copies.add(queue.name)
                if exchange.type != "topic":
                    continue
            self.queue_bind(queue.name, exchange.name, each.routing_key, each.arguments)

    def queue_unbind(
        self,
        queue: str,
        exchange: str = "",
        routing_key: str = "",
        arguments: Any = None,
        **kwargs: Any,
    ) -> None:
        """Remove a binding, also where other processes read it."""
        super().queue_unbind(queue, exchange, routing_key, arguments, **kwargs)
        kind: Any = self.typeof(exchange)
        binding = kind.prepare_bind(queue, exchange, routing_key, arguments)
        self.remove_stored_binding(exchange, *(part or "" for part in binding))

    def remove_stored_binding(self, exchange: str, *binding: str) -> None:
        """Remove a binding from where the broker keeps it; most do not keep any.

        Args:
            binding: Its routing key, its pattern, and the name of the queue.
        """

    def find_copies(self, exchange: str) -> set[str] | None:
        """Return the queues that get copies of tasks; None for another exchange."""
        known: dict[str, set[str]] = self.connection.copies
        return known.get(exchange, set() if exchange == EXCHANGE else None)

    def find_bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        """Return the bindings of an exchange: key, pattern and queue.

        Every connection declares all bindings of the task exchange that it needs. To
        others, services may be bound that this one does not know.
        """
        if exchange == EXCHANGE:
            known: Any = self.state.exchanges
            return list(known.get(exchange, {}).get("table", []))
        return list(self.get_table(exchange))

    def warn_about_redelivery(self, message: Mapping[str, Any]) -> None:
        """Warn about an ETA beyond the visibility timeout, once for a connection."""
        eta = message.get("headers", {}).get("eta")
        if not eta or self.visibility_timeout is None or self.connection.has_warned:
            return
        ahead_s = (_parse_time(eta) - datetime.now(UTC)).total_seconds()
        if ahead_s > self.visibility_timeout:
            self.connection.has_warned = True
            _logger.warning(
                "task %s is due in %.0f s, but this broker delivers a message again "
                "after %.0f s without an acknowledgement, so the task may run several "
                'times; set broker_transport_options={"visibility_timeout": …} above '
                "the longest countdown",
                log_text(message["headers"].get("task")),
                ahead_s,
                self.visibility_timeout,
            )

    def abandon(self) -> None:
        """Drop what the parent of this forked process uses, without a request."""

    def read_message(self, raw: bytes | str, queue: str) -> dict[str, Any]:
        """Return what was read from a queue as a message, even if it is malformed."""
        message = self.pin(parse_envelope(raw), queue)
        if message.get("redelivered"):
            # kombu's base class sets this key when it requeues a message.
            message["properties"]["delivery_info"]["redelivered"] = True
        # If a message came with a forged or duplicate tag, acknowledging it could
        # acknowledge another message.
        message["properties"]["delivery_tag"] = str(uuid4())
        return message

    def pin(self, message: dict[str, Any], queue: str) -> dict[str, Any]:
        """Make an unacknowledged message return to the queue it was read from."""
        info = message["properties"]["delivery_info"]
        exchange, key = info.get("exchange"), info.get("routing_key")
        if (exchange, key) != ("", queue) and not self._is_foreign(exchange, key):
            info[ROUTING_KEY] = key
            # In the default exchange, a routing key is the name of a queue. Celery's
            # retry accepts this form too.
            info.update(exchange="", routing_key=queue)
        return message

    def _is_foreign(self, exchange: Any, key: Any) -> bool:
        """Return whether a message belongs to another exchange of this connection."""
        return (
            isinstance(exchange, str)
            and isinstance(key, str)
            and exchange not in ("", EXCHANGE, *self.connection.copies)
            and exchange in (self.state.exchanges or ())
        )

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        return self.pin(super()._get(queue), queue)


class TaskTransport(virtual.Transport):
    """A transport whose connections warn once about an ETA that is too far away."""

    #: Whether this connection has warned.
    has_warned = False

    #: Errors beside kombu's with which the broker refuses this service for good.
    refusals: tuple[type[Exception], ...] = ()

    @staticmethod
    def is_permanent(error: BaseException) -> bool:
        """Return whether the broker refuses this service for good."""
        return False

    @staticmethod
    def is_temporary(error: BaseException) -> bool:
        """Return whether the broker answers, but refuses for now."""
        return False

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        #: The exchanges of task queues, with the queues that get copies of tasks.
        self.copies: dict[str, set[str]] = {}
        track(self)

    def abandon(self) -> object:
        """Make the channels unusable in a forked process, and return them."""
        channels: list[Any] = self.channels or []
        self.channels = []
        for channel in channels:
            channel.connection = None
            with suppress(Exception):
                channel.abandon()
        return channels


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
