"""Set up an app when a service starts, before its first task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from celery import Celery
from kombu import Connection, Queue

from cadasta.workertoolbox.conf._brokers.connection import (
    broker_errors,
    describe_unusable,
    error_text,
    mask_urls,
    with_timeouts,
)
from cadasta.workertoolbox.conf._chord_unlock import limit_chord_unlock
from cadasta.workertoolbox.conf._errors import (
    BrokerUnreachable,
    ConfError,
    DeclarationRefused,
    NotConfigured,
)
from cadasta.workertoolbox.results import ResultsError
from cadasta.workertoolbox.routing import bindings_of

_logger = logging.getLogger(__name__)


def setup_app(app: Celery, throw: bool = True) -> list[ConfError | ResultsError]:
    """Declare the exchange and every queue, and check that the database is ready.

    No service has to call this, but it shows at the start of a service what is missing.
    It also limits `celery.chord_unlock`, which result backends other than the toolbox's
    need, to 21,600 retries (six hours), unless the app has a limit.

    Each broker URL is tried once, for at most `broker_connection_timeout` seconds. The
    database is tried for ten seconds, and only if `result_backend` is the toolbox's.

    Args:
        app: A configured app.
        throw: Raise the first error, with the others as its notes, instead of logging
            and returning all of them.

    Returns:
        The errors; an empty list if all is well.

    Raises:
        NotConfigured: The app is not configured with the toolbox.
        BrokerUnreachable: The broker does not answer, or refuses the connection.
        DeclarationRefused: The broker refuses to declare the exchange or a queue.
        DatabaseUnavailable: The database does not answer, or refuses the connection.
        InvalidURL: The driver of the database is not installed.
        SchemaOutdated: The tables of the toolbox are missing or old.
    """
    errors = _set_up(app)
    if errors and throw:
        first, *others = errors
        for other in others:
            first.add_note(f"and {other}")
        raise first
    for error in errors:
        _logger.error("%s", error)
    return errors


def check_configured(app: Celery) -> None:
    """Raise an error unless an app is configured with the toolbox.

    Raises:
        NotConfigured: The app is not configured with the toolbox.
    """
    if app.conf.get("PLATFORM_QUEUE_NAME") is None:
        raise NotConfigured(app.main)


def _set_up(app: Celery) -> list[ConfError | ResultsError]:
    try:
        check_configured(app)
    except NotConfigured as error:
        return [error]
    limit_chord_unlock(app)
    return [*_declare(app), *_database_errors(app.conf.result_backend)]


def _declare(app: Celery) -> Iterator[ConfError]:
    """Declare the exchange and the queues, and yield an error for each that fails."""
    broker = mask_urls(app.conf.broker_write_url or "")
    try:
        connection = app.connection_for_write()
        _ = connection.transport
    except (KeyError, ImportError) as error:
        problem, advice = describe_unusable(broker, error)
        yield _with_cause(BrokerUnreachable(f"broker {problem}; {advice}"), error)
        return
    with connection:
        connection.transport_options = with_timeouts(connection)
        try:
            connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0))
        except broker_errors(connection) as error:
            yield _with_cause(
                BrokerUnreachable(
                    f"broker {broker} cannot be used: {error_text(error)}; start it, "
                    "or set broker_url to a running broker"
                ),
                error,
            )
            return
        yield from _declare_each(connection, app.amqp.queues.values(), broker)


def _declare_each(
    connection: Connection, queues: Collection[Queue], broker: str
) -> Iterator[ConfError]:
    exchanges = {
        each.exchange.name: each.exchange
        for queue in queues
        for each in bindings_of(queue)
    }
    refused = set()
    for name, exchange in exchanges.items():
        if error := _refusal(connection, exchange.declare):
            refused.add(name)
            yield _declaration_refused(
                broker, "exchange", f"{name!r} of type {exchange.type!r}", error
            )
    for queue in queues:
        # A queue is declared without its exchange too, to report one of another kind.
        is_alone = any(each.exchange.name in refused for each in bindings_of(queue))
        declare = queue.queue_declare if is_alone else partial(_declare_queue, queue)
        if error := _refusal(connection, declare):
            yield _declaration_refused(broker, "queue", repr(queue.name), error)


def _declare_queue(queue: Queue, *, channel: Any) -> None:
    declare = getattr(channel, "declare_task_queue", None)
    if declare is None:
        queue.declare(channel=channel)
    else:
        # Publishers use a queue with other arguments as it is; here it is reported.
        declare(queue, strict=True)


def _refusal(
    connection: Connection, declare: Callable[..., object]
) -> BaseException | None:
    try:
        # One channel for each, because a broker that refuses closes the channel.
        with connection.channel() as channel:
            declare(channel=channel)
    except broker_errors(connection) as error:
        return error
    return None


def _declaration_refused(
    broker: str, kind: str, shown: str, error: BaseException
) -> ConfError:
    return _with_cause(
        DeclarationRefused(
            f"broker {broker} does not declare {kind} {shown}: {error_text(error)}; "
            f"delete the {kind} there if it was created with other arguments, or let "
            "this service declare it"
        ),
        error,
    )


def _database_errors(result_backend: str | None) -> Iterator[ResultsError]:
    if not str(result_backend).startswith("workertoolbox+"):
        return
    # Imported here, because it loads SQLAlchemy, which not every process needs.
    from cadasta.workertoolbox.results import TaskStore

    try:
        TaskStore(str(result_backend)).close()
    except ResultsError as error:
        yield error


def _with_cause(error: ConfError, cause: BaseException) -> ConfError:
    error.__cause__ = cause
    return error
