"""The URL and options with which a client reaches its part of a broker."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class BrokerAccess:
    """A part of a broker that only one test uses.

    Attributes:
        url: The broker URL for kombu.
        transport_options: kombu's transport options that select the part.
        tls: kombu's TLS options; empty if the URL is enough.
    """

    url: str
    transport_options: dict[str, object] = field(default_factory=dict)
    tls: dict[str, object] = field(default_factory=dict)


class BrokerServer(Protocol):
    """A server that is a message broker."""

    def access(self) -> AbstractContextManager[BrokerAccess]:
        """Yield a part of the broker that lasts as long as the block."""
        ...
