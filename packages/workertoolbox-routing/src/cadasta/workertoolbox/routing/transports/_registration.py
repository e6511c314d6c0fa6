"""Which transport serves a broker URL."""

from __future__ import annotations

from kombu import transport

_PACKAGE = "cadasta.workertoolbox.routing.transports"

#: Scheme of a broker URL to the transport's name, which is imported on first use.
TRANSPORTS = {
    "amqp": f"{_PACKAGE}.amqp:Transport",
    "amqps": f"{_PACKAGE}.amqp:SSLTransport",
    "pyamqp": f"{_PACKAGE}.amqp:Transport",
    "filesystem": f"{_PACKAGE}.filesystem:Transport",
    "memory": f"{_PACKAGE}.memory:Transport",
    "redis": f"{_PACKAGE}.redis:Transport",
    "rediss": f"{_PACKAGE}.redis:Transport",
    "sentinel": f"{_PACKAGE}.redis:SentinelTransport",
    "sqla": f"{_PACKAGE}.sqlalchemy:Transport",
    "sqlalchemy": f"{_PACKAGE}.sqlalchemy:Transport",
    "SQS": f"{_PACKAGE}.sqs:Transport",
    "sqs": f"{_PACKAGE}.sqs:Transport",
}


def register() -> None:
    """Have kombu take our transports wherever a URL names one."""
    transport.TRANSPORT_ALIASES.update(TRANSPORTS)
    for scheme in TRANSPORTS:
        vars(transport)["_transport_cache"].pop(scheme, None)
