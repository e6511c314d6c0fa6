"""What an app does once, before its first task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from celery import Celery
from kombu import Connection, Queue

from cadasta.workertoolbox.conf._errors import (
    BrokerUnreachable,
    ConfError,
    DeclarationRefused,
    NotConfigured,
)
from cadasta.workertoolbox.conf._reach import (
    bounded_options,
    broker_errors,
    in_one_line,
    masked,
)

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
    shown = masked(app.conf.broker_write_url or "")
    try:
        connection = app.connection_for_write()
        _ = connection.transport
    except (KeyError, ImportError) as error:
        unknown = BrokerUnreachable(
            f"broker {shown} is of an unknown kind, or its client is not installed: "
            f"{in_one_line(error)}; set broker_url to one that is"
        )
        unknown.__cause__ = error
        yield unknown
        return
    with connection:
        yield from _undeclared(connection, app.amqp.queues.values(), shown)


def _undeclared(
    connection: Connection, queues: Iterable[Queue], shown: str
) -> Iterator[ConfError]:
    connection.transport_options = bounded_options(connection)
    errors = broker_errors(connection)
    try:
        connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0))
    except errors as error:
        failure: ConfError = BrokerUnreachable(
            f"broker {shown} cannot be used: {in_one_line(error)}; start it, or set "
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
                f"{in_one_line(error)}; delete the queue there if it was made "
                "otherwise, or let this service declare it"
            )
            failure.__cause__ = error
            yield failure
