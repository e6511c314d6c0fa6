"""What a message needs at the broker; kombu declares it once for each connection."""

from __future__ import annotations

import logging
from functools import cache, cached_property
from typing import Any, Self

from kombu import Queue
from kombu.abstract import MaybeChannelBound

from cadasta.workertoolbox.routing._log_text import log_text
from cadasta.workertoolbox.routing._task_queue import bindings_of

_logger = logging.getLogger(__name__)

#: Maximum number of characters of a warning: those of brokers are short.
MAX_LOGGED = 1000


class Declaration(MaybeChannelBound):
    """Base of the declarations in the option `declare` of a message.

    kombu remembers for each connection which declarations it has made. It compares
    them by their hashes, so it makes equal declarations of several messages only once.
    """

    can_cache_declaration = True

    def __init__(
        self, queues: tuple[Queue, ...] = (), *values: Any, **kwargs: Any
    ) -> None:
        """Keep the queues, and the other arguments of a subclass."""
        super().__init__(**kwargs)
        self.queues = queues
        self.values = values

    def declare(self, channel: Any = None) -> None:
        """Declare on a channel; a channel of RabbitMQ can declare again later."""
        bound: Any = channel or self.channel
        self.declare_on(bound)
        if (keep := getattr(bound, "keep_declaration", None)) is not None:
            keep(self)

    def declare_on(self, channel: Any) -> None:
        """Declare what the subclass stands for."""
        raise NotImplementedError

    def __copy__(self) -> Self:
        return type(self)(self.queues, *self.values)

    def __reduce__(self) -> Any:
        return type(self), (self.queues, *self.values)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and other.queues == self.queues
            and other.values == self.values
        )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Of the bindings too: kombu compares hashes only, and another app may have the
        # same queues with other bindings.
        bound = (
            (queue.name, each.exchange.name, each.routing_key)
            for queue in self.queues
            for each in bindings_of(queue)
        )
        return hash((type(self), self.values, *bound))


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless this process has logged the same one before."""
    _logger.warning("%s", log_text(message, MAX_LOGGED))
