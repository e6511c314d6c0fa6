"""What an app does once, before its first task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator

from celery import Celery
from kombu import Connection, Queue

from cadasta.workertoolbox.conf._brokers.connection import (
    bounded_options,
    broker_errors,
    in_one_line,
    masked,
)
from cadasta.workertoolbox.conf._errors import (
    BrokerUnreachable,
    ConfError,
    DeclarationRefused,
    NotConfigured,
)
from cadasta.workertoolbox.results import ResultsError, TaskStore

_logger = logging.getLogger(__name__)


#: How often `celery.chord_unlock` looks for the end of a chord at most, once a second:
#: for six hours, as the toolbox always had it. Celery's looks for ever where a task of
#: the header never ends (celery#1700).
CHORD_UNLOCK_MAX_RETRIES = 21_600


def setup_app(app: Celery, throw: bool = True) -> list[ConfError | ResultsError]:
    """Declare the exchange and every queue now, and look whether the database is ready.

    Nothing needs this, but a service that calls it learns when it starts what is
    missing. `celery.chord_unlock`, which other result backends than the toolbox's
    need, gets a bound of six hours where the configuration has none.

    Each broker URL is tried once, for `broker_connection_timeout` seconds at most; the
    database, where `result_backend` is the toolbox's, for ten.

    Args:
        app: An app that has its configuration.
        throw: Raise the first error, with the others as its notes, instead of logging
            each and returning them.

    Returns:
        What failed: an empty list when all is well.

    Raises:
        NotConfigured: The app has no configuration of the toolbox's.
        BrokerUnreachable: The broker does not answer, or does not let us in.
        DeclarationRefused: The broker does not declare the exchange or a queue.
        DatabaseUnavailable: The database does not answer, or does not let us in.
        InvalidURL: The driver of the database is not installed.
        SchemaOutdated: It has no tables of the toolbox's, or old ones.
    """
    failures = list(_failures(app))
    if failures and throw:
        first, *others = failures
        for other in others:
            first.add_note(f"and {other}")
        raise first
    for failure in failures:
        _logger.error("%s", failure)
    return failures


def _failures(app: Celery) -> Iterator[ConfError | ResultsError]:
    if app.conf.get("PLATFORM_QUEUE_NAME") is None:
        yield NotConfigured(
            f"app {app.main!r} is not configured with the toolbox; call "
            "app.config_from_object(Config(queues=[…])) first"
        )
        return
    unlock = app.tasks["celery.chord_unlock"]
    if unlock.max_retries is None:
        unlock.max_retries = CHORD_UNLOCK_MAX_RETRIES
    yield from _broker_failures(app)
    yield from _database_failures(app.conf.result_backend)


def _broker_failures(app: Celery) -> Iterator[ConfError]:
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


def _database_failures(result_backend: str | None) -> Iterator[ResultsError]:
    if not str(result_backend).startswith("workertoolbox+"):
        return
    try:
        TaskStore(str(result_backend)).close()
    except ResultsError as error:
        yield error


def _undeclared(
    connection: Connection, queues: Collection[Queue], shown: str
) -> Iterator[ConfError]:
    connection.transport_options = bounded_options(connection)
    try:
        connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0))
    except broker_errors(connection) as error:
        failure = BrokerUnreachable(
            f"broker {shown} cannot be used: {in_one_line(error)}; start it, or set "
            "broker_url to one that runs"
        )
        failure.__cause__ = error
        yield failure
        return
    yield from _refused(connection, queues, shown)


def _refused(
    connection: Connection, queues: Collection[Queue], shown: str
) -> Iterator[ConfError]:
    exchanges = {queue.exchange.name: queue.exchange for queue in queues}
    refused = set()
    for name, exchange in exchanges.items():
        if error := _refusal(connection, exchange.declare):
            refused.add(name)
            yield _declaration_refused(
                f"broker {shown} does not declare exchange {name!r} of type "
                f"{exchange.type!r}: {in_one_line(error)}; delete the exchange there "
                "if it was made otherwise, or let this service declare it",
                error,
            )
    for queue in queues:
        # Without its exchange, a queue can still be seen to be of another kind.
        alone = queue.exchange.name in refused
        declare = queue.queue_declare if alone else queue.declare
        if error := _refusal(connection, declare):
            yield _declaration_refused(
                f"broker {shown} does not declare queue {queue.name!r}: "
                f"{in_one_line(error)}; delete the queue there if it was made "
                "otherwise, or let this service declare it",
                error,
            )


def _refusal(
    connection: Connection, declare: Callable[..., object]
) -> BaseException | None:
    try:
        # A channel for each: a broker closes the one it refuses something on.
        with connection.channel() as channel:
            declare(channel=channel)
    except broker_errors(connection) as error:
        return error
    return None


def _declaration_refused(message: str, cause: BaseException) -> DeclarationRefused:
    refused = DeclarationRefused(message)
    refused.__cause__ = cause
    return refused
