"""What an app does once, before its first task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.conf._errors import (
    BrokerUnreachable,
    ConfError,
    DeclarationRefused,
    NotConfigured,
)
from cadasta.workertoolbox.routing import mask_url

_logger = logging.getLogger(__name__)


def setup_app(app: Celery, throw: bool = True) -> list[ConfError]:
    """Declare the exchange and every queue now, instead of with the first task.

    Nothing needs this, but a service that calls it learns when it starts whether its
    broker is there.

    Each broker URL is tried once, for `broker_connection_timeout` seconds at most.

    Args:
        app: An app that has its configuration.
        throw: Raise the first error, instead of logging each and returning them.

    Returns:
        What failed: an empty list when all is well.

    Raises:
        NotConfigured: The app has no configuration of the toolbox's.
        BrokerUnreachable: The broker does not answer, or does not let us in.
        DeclarationRefused: The broker does not declare a queue.
    """
    failures = list(_failures(app))
    for failure in failures:
        if throw:
            raise failure
        _logger.error("%s", failure)
    return failures


def _failures(app: Celery) -> Iterator[ConfError]:
    if app.conf.get("PLATFORM_QUEUE_NAME") is None:
        yield NotConfigured(
            f"app {app.main!r} is not configured with the toolbox; call "
            "app.config_from_object(Config(queues=[…])) first"
        )
        return
    shown = _shown(app.conf.broker_write_url or "")
    try:
        connection = app.connection_for_write()
        _ = connection.transport
    except (KeyError, ImportError) as error:
        unknown = BrokerUnreachable(
            f"broker {shown} is of an unknown kind, or its client is not installed: "
            f"{_reason(error)}; set broker_url to one that is"
        )
        unknown.__cause__ = error
        yield unknown
        return
    with connection:
        yield from _undeclared(connection, app.amqp.queues.values(), shown)


def _undeclared(
    connection: Connection, queues: Iterable[Queue], shown: str
) -> Iterator[ConfError]:
    connection.transport_options = _bounded(connection)
    errors = _broker_errors(connection)
    try:
        connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0))
    except errors as error:
        failure: ConfError = BrokerUnreachable(
            f"broker {shown} cannot be used: {_reason(error)}; start it, or set "
            "broker_url to one that runs"
        )
        failure.__cause__ = error
        yield failure
        return
    for queue in queues:
        try:
            # A channel for each: a broker closes the one it refuses a queue on.
            with connection.channel() as channel:
                queue.bind(channel).declare()
        except errors as error:
            failure = DeclarationRefused(
                f"broker {shown} does not declare queue {queue.name!r}: "
                f"{_reason(error)}; delete the queue there if it was made otherwise, "
                "or let this service declare it"
            )
            failure.__cause__ = error
            yield failure


def _reason(error: BaseException) -> str:
    return mask_url(" ".join(str(error).split()))


def _shown(urls: str | Sequence[str]) -> str:
    return mask_url(urls if isinstance(urls, str) else ";".join(urls))


def _bounded(connection: Connection) -> dict[str, Any]:
    """Return transport options that bound the wait for a server that is silent."""
    options = connection.transport_options or {}
    timeout = connection.connect_timeout
    match connection.transport.driver_type:
        case "redis":
            bounds = {"socket_connect_timeout": timeout, "socket_timeout": timeout}
            return {**bounds, **options}
        case "sqs":
            client = {
                "connect_timeout": timeout,
                "read_timeout": timeout,
                "retries": {"total_max_attempts": 1},
                **options.get("client-config", {}),
            }
            return {**options, "client-config": client}
    return options


def _broker_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    return (
        OSError,
        OperationalError,
        *connection.connection_errors,
        *connection.channel_errors,
    )
