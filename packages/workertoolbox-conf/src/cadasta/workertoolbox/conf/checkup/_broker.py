"""Check that the broker answers and accepts this service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from kombu import Connection

from cadasta.workertoolbox.conf._brokers.connection import (
    broker_errors,
    describe_unusable,
    error_text,
    mask_urls,
)
from cadasta.workertoolbox.conf.checkup._aws import LIST_QUEUES, is_denied
from cadasta.workertoolbox.conf.checkup._context import CheckContext, prepare
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok

_UNUSABLE = "start the broker, or set broker_url to one that accepts this service"


def broker(context: CheckContext) -> Iterator[Finding]:
    """Connect for writing, and also for reading if there is another URL for it."""
    app, conf = context.app, context.app.conf
    context.connection, findings = _connect(
        "broker", app.connection_for_write, conf.broker_write_url
    )
    yield from findings
    if conf.broker_read_url != conf.broker_write_url:
        reading, findings = _connect(
            "broker for reading", app.connection_for_read, conf.broker_read_url
        )
        if reading is not None:
            reading.release()
        yield from findings


def _connect(
    check: str, make: Callable[[], Connection], urls: Any
) -> tuple[Connection | None, list[Finding]]:
    """Return a connection, if its kind is known, and what was found."""
    shown = mask_urls(urls or "")
    try:
        connection = prepare(make())
    except (KeyError, ImportError) as error:
        return None, [failed(check, *describe_unusable(shown, error))]
    try:
        connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0))
    except broker_errors(connection) as error:
        if not is_denied(error.__cause__ or error):
            detail = f"{shown} cannot be used: {error_text(error)}"
            return connection, [failed(check, detail, _UNUSABLE)]
        denied = failed(
            LIST_QUEUES,
            "denied, and kombu needs it for every connection",
            f"allow {LIST_QUEUES}, or name every queue in predefined_queues",
        )
        return connection, [ok(check, f"{shown} answers"), denied]
    return connection, [ok(check, f"{shown} answers{_server(connection)}")]


def _server(connection: Connection) -> str:
    """Return the server and the client library, as far as they are known."""
    transport: Any = connection.transport
    channel: Any = connection.default_channel
    match transport.driver_type:
        case "amqp":
            properties = _server_properties(connection)
            server = f": {properties.get('product')} {properties.get('version')}"
            client = f"{transport.driver_name} {transport.driver_version()}"
            return f"{server}, through {client}"
        case "redis":
            server = ""
            with suppress(Exception):  # The user may lack the permission for INFO.
                version = channel.client.info("server")
                server = f": Redis {version['redis_version']}"
            return f"{server}, through redis-py {transport.driver_version()}"
        case "sqs":
            import boto3  # type: ignore[import-untyped]

            region = channel.sqs().meta.region_name
            return f": SQS in {region}, through boto3 {boto3.__version__}"
    return ""


def _server_properties(connection: Connection) -> dict[str, Any]:
    """Return what an AMQP server reports about itself."""
    raw: Any = connection.connection
    return dict(raw.server_properties)
