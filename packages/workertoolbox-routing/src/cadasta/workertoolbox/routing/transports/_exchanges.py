"""Exchanges that the client emulates: copies are put after a task, or with it."""

from __future__ import annotations

from typing import Any

from kombu.transport.virtual import exchange as exchanges

from cadasta.workertoolbox.routing._errors import UnknownQueue
from cadasta.workertoolbox.routing._task_queue import EXCHANGE


class _CopyingExchange(exchanges.ExchangeType):
    """An exchange that puts a task into its work queues, and a copy for the monitor.

    Other exchanges than those of task queues are left to kombu.
    """

    channel: Any

    def deliver(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        """Put a task and its copies.

        Raises:
            UnknownQueue: No work queue is bound by the routing key.
        """
        channel = self.channel
        copies = channel.find_copies(exchange)
        if copies is None:
            super().deliver(message, exchange, routing_key, **kwargs)
            return
        table = channel.find_bindings(exchange)
        bound = set(self.lookup(table, exchange, routing_key, None))
        if exchange == EXCHANGE:
            # Work queues are bound to it by their literal names.
            copies = bound - {queue for key, _, queue in table if key == routing_key}
        channel.warn_about_redelivery(message)
        if self.type == "fanout" and channel.broadcasts:
            super().deliver(message, exchange, routing_key, **kwargs)
            channel.put_task(message, [], sorted(copies), **kwargs)
            return
        if not (work := bound - copies):
            raise UnknownQueue(routing_key or exchange)
        channel.put_task(message, sorted(work), sorted(copies), **kwargs)


class DirectExchange(_CopyingExchange, exchanges.DirectExchange):
    """A direct exchange, which sends the monitor a copy of each task."""


class TopicExchange(_CopyingExchange, exchanges.TopicExchange):
    """A topic exchange, which sends the monitor a copy of each task."""


class FanoutExchange(_CopyingExchange, exchanges.FanoutExchange):
    """A fanout exchange, which sends the monitor one copy of each task."""


#: The exchanges by type, for a channel.
EXCHANGE_TYPES = {
    "direct": DirectExchange,
    "topic": TopicExchange,
    "fanout": FanoutExchange,
}
