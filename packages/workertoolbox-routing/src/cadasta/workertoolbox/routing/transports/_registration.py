"""The transports that kombu uses for the schemes of broker URLs."""

from __future__ import annotations

from kombu import transport

_PACKAGE = "cadasta.workertoolbox.routing.transports"

#: Transports by the scheme of a broker URL. kombu imports one on its first use.
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
    """Replace kombu's transports with ours for every connection of this process."""
    transport.TRANSPORT_ALIASES.update(TRANSPORTS)
    for scheme in TRANSPORTS:
        vars(transport)["_transport_cache"].pop(scheme, None)
