"""A channel that declares queues as wishes, and a connection that remembers them."""

from __future__ import annotations

from typing import Any

from kombu import Queue
from kombu.transport import pyamqp

from cadasta.workertoolbox.routing._declaration import Declaration, warn_once
from cadasta.workertoolbox.routing._task_queue import bindings_of
from cadasta.workertoolbox.routing.transports._amqp_declaration import (
    declare_queue,
    is_quorum_queue,
)


class DeclaringChannel(pyamqp.Channel):
    """kombu's channel, which uses queues and exchanges as the broker has them."""

    connection: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The limit of unacknowledged messages of all consumers of this channel.
        self._global_prefetch = 0
        self._is_prefetch_static = False
        super().__init__(*args, **kwargs)

    def declare_task_queue(self, queue: Queue, *, strict: bool = False) -> None:
        """Declare a queue, or use the queue as it is.

        Args:
            strict: Raise an error if the queue has other arguments.
        """
        self.connection.task_queues[queue.name] = queue
        names = {each.exchange.name for each in bindings_of(queue)}
        self.connection.task_exchanges.update(names)
        channel = self.connection.channel_for_declarations()
        for note in declare_queue(channel, queue, strict=strict):
            warn_once(note)

    def keep_declaration(self, declaration: Declaration) -> None:
        """Remember a declaration, to make it again if its exchange is deleted."""
        self.connection.declarations[declaration] = None

    def declare_again(self) -> bool:
        """Make the declarations of this connection again; return whether it has any."""
        declarations = list(self.connection.declarations)
        for declaration in declarations:
            declaration.declare(self)
        return bool(declarations)

    def basic_qos(
        self, prefetch_size: int, prefetch_count: int, a_global: bool, **kwargs: Any
    ) -> Any:
        """Limit the unacknowledged messages, unless the limit cannot change."""
        if a_global and self._is_prefetch_static:
            return None
        self._global_prefetch = prefetch_count if a_global else 0
        return super().basic_qos(prefetch_size, prefetch_count, a_global, **kwargs)

    def basic_consume(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Consume a queue; a quorum queue with a limit for each consumer.

        Celery uses a limit for the whole channel, unless the app's own queues are
        quorum queues. RabbitMQ closes the connection if the queue is one on the broker
        alone, for example because it is the default type of the virtual host.
        """
        task_queue = self.connection.task_queues.get(queue)
        if self._global_prefetch and task_queue is not None:
            channel = self.connection.channel_for_declarations()
            if is_quorum_queue(channel, task_queue):
                super().basic_qos(0, 0, True)
                super().basic_qos(0, self._global_prefetch, False)
                self._global_prefetch = 0
                self._is_prefetch_static = True
        return super().basic_consume(queue, *args, **kwargs)


class DeclaringConnection(pyamqp.Connection):
    """kombu's connection, which remembers what was declared on it.

    Attributes:
        declarations: What messages on this connection have declared, in this order.
        task_queues: The queues that were declared on this connection, by name.
        task_exchanges: The names of the exchanges that these queues are bound to.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.declarations: dict[Declaration, None] = {}
        self.task_queues: dict[str, Queue] = {}
        self.task_exchanges: set[str] = set()
        self._channel_for_declarations: Any = None
        super().__init__(*args, **kwargs)

    def channel_for_declarations(self) -> Any:
        """Return a channel that RabbitMQ may close without ending a consumer."""
        if self._channel_for_declarations is None:
            self._channel_for_declarations = self.channel()
        return self._channel_for_declarations
