"""Try a broker once, with timeouts, and describe its errors without passwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.routing import MissingExtra, mask_url


def error_text(error: BaseException) -> str:
    """Return the text of an error in one line, with passwords masked."""
    return mask_url(" ".join(str(error).split()))


def mask_urls(urls: str | Sequence[str]) -> str:
    """Return broker URLs with passwords masked, separated by `;`."""
    return mask_url(urls if isinstance(urls, str) else ";".join(urls))


def describe_unusable(urls: str, error: KeyError | ImportError) -> tuple[str, str]:
    """Describe a broker whose transport or client cannot be loaded.

    Args:
        urls: Broker URLs with passwords masked.
        error: What loading the transport raised.

    Returns:
        What is wrong, and what to do.
    """
    if isinstance(error, MissingExtra):
        return f"{urls} cannot be used: {error.reason}", error.advice
    return (
        f"{urls} is of an unknown kind, or its client is not installed: "
        f"{error_text(error)}",
        "set broker_url to a known broker, or install its client",
    )


def with_timeouts(connection: Connection) -> dict[str, Any]:
    """Return a connection's transport options, with timeouts for a silent server.

    The timeouts are `connection.connect_timeout`, in seconds.
    """
    options = connection.transport_options or {}
    timeout = connection.connect_timeout
    match connection.transport.driver_type:
        case "redis":
            timeouts = {"socket_connect_timeout": timeout, "socket_timeout": timeout}
            return {**options, **timeouts}
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
    """Return the errors that a broker's client raises."""
    return (
        OSError,
        OperationalError,
        *connection.connection_errors,
        *connection.channel_errors,
        *getattr(connection.transport, "refusals", ()),
    )
