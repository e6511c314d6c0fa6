"""What a client needs to reach its part of a broker."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class BrokerAccess:
    """A part of a broker that one test has to itself.

    Attributes:
        url: kombu's URL of the broker.
        transport_options: kombu's options that lead there and keep others out.
        tls: kombu's TLS options, none where the URL says enough.
    """

    url: str
    transport_options: dict[str, object] = field(default_factory=dict)
    tls: dict[str, object] = field(default_factory=dict)


class BrokerServer(Protocol):
    """A server of any kind that brokers messages."""

    def access(self) -> AbstractContextManager[BrokerAccess]:
        """Give a part of the broker away as long as the block lasts."""
        ...
