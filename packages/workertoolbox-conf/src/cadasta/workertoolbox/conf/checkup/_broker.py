"""Whether the broker answers, and lets us in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from kombu import Connection

from cadasta.workertoolbox.conf._brokers.connection import (
    broker_errors,
    error_text,
    mask_urls,
)
from cadasta.workertoolbox.conf.checkup._aws import LIST, is_denied
from cadasta.workertoolbox.conf.checkup._context import CheckContext, once
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok

_ADVICE = "start it, or set broker_url to one that runs and lets this service in"


def broker(context: CheckContext) -> Iterator[Finding]:
    """Connect for writing, and for reading where that is another URL."""
    app, conf = context.app, context.app.conf
    context.connection, found = _connect(
        "broker", app.connection_for_write, conf.broker_write_url
    )
    yield from found
    if conf.broker_read_url != conf.broker_write_url:
        reading, found = _connect(
            "broker for reading", app.connection_for_read, conf.broker_read_url
        )
        if reading is not None:
            reading.release()
        yield from found


def _connect(
    check: str, make: Callable[[], Connection], urls: Any
) -> tuple[Connection | None, list[Finding]]:
    shown = mask_urls(urls or "")
    try:
        connection = once(make())
    except (KeyError, ImportError) as error:
        detail = (
            f"{shown} is of an unknown kind, or its client is not installed: "
            f"{error_text(error)}"
        )
        return None, [failed(check, detail, "set broker_url to one that is")]
    try:
        connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0))
    except broker_errors(connection) as error:
        if not is_denied(error.__cause__ or error):
            detail = f"{shown} cannot be used: {error_text(error)}"
            return connection, [failed(check, detail, _ADVICE)]
        denied = failed(
            LIST,
            "denied, and kombu asks for it before anything else",
            f"allow {LIST}, or name every queue in predefined_queues",
        )
        return connection, [ok(check, f"{shown} answers"), denied]
    return connection, [ok(check, f"{shown} answers{_server(connection)}")]


def _server(connection: Connection) -> str:
    """Return which server it is and by which library it was asked, as far as known."""
    transport: Any = connection.transport
    channel: Any = connection.default_channel
    match transport.driver_type:
        case "amqp":
            properties = _properties(connection)
            server = f": {properties.get('product')} {properties.get('version')}"
            return f"{server}, by {transport.driver_name} {transport.driver_version()}"
        case "redis":
            server = ""
            with suppress(Exception):  # INFO may be forbidden
                version = channel.client.info("server")
                server = f": Redis {version['redis_version']}"
            return f"{server}, by redis-py {transport.driver_version()}"
        case "sqs":
            import boto3  # type: ignore[import-untyped]

            region = channel.sqs().meta.region_name
            return f": SQS in {region}, by boto3 {boto3.__version__}"
    return ""


def _properties(connection: Connection) -> dict[str, Any]:
    """Return what a broker that speaks AMQP says of itself."""
    raw: Any = connection.connection
    return dict(raw.server_properties)
