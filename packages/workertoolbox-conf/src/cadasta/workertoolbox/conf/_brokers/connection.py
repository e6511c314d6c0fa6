"""How a broker is tried: once, not for long, and without telling its password."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.routing import mask_url


def in_one_line(error: BaseException) -> str:
    """Return what an error says, without line ends and passwords."""
    return mask_url(" ".join(str(error).split()))


def masked(urls: str | Sequence[str]) -> str:
    """Return broker URLs with their passwords masked, and `;` between them."""
    return mask_url(urls if isinstance(urls, str) else ";".join(urls))


def bounded_options(connection: Connection) -> dict[str, Any]:
    """Return transport options that bound the wait for a server that is silent."""
    options = connection.transport_options or {}
    timeout = connection.connect_timeout
    match connection.transport.driver_type:
        case "redis":
            bounds = {"socket_connect_timeout": timeout, "socket_timeout": timeout}
            return {**options, **bounds}
        case "sqs":
            client = {
                **options.get("client-config", {}),
                "connect_timeout": timeout,
                "read_timeout": timeout,
                "retries": {"total_max_attempts": 1},
            }
            return {**options, "client-config": client}
    return options


def broker_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    """Return what a broker's client raises."""
    return (
        OSError,
        OperationalError,
        *connection.connection_errors,
        *connection.channel_errors,
    )
