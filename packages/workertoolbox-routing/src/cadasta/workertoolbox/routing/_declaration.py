"""A set of queues that kombu declares once for each connection."""

from __future__ import annotations

from typing import Any, Self

from kombu import Queue
from kombu.abstract import MaybeChannelBound


class Declaration(MaybeChannelBound):
    """Base of the declarations in the option `declare` of a message.

    kombu remembers for each connection which declarations it has made. It compares
    them by value, so it makes equal declarations of several messages only once.
    """

    can_cache_declaration = True

    def __init__(self, queues: tuple[Queue, ...] = (), **kwargs: Any) -> None:
        """Keep the queues: the work queues first, then the monitor queue."""
        super().__init__(**kwargs)
        self.queues = queues

    def __copy__(self) -> Self:
        return type(self)(self.queues)

    def __reduce__(self) -> Any:
        return type(self), (self.queues,)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.queues == self.queues

    def __hash__(self) -> int:
        return hash((type(self), tuple(queue.name for queue in self.queues)))
