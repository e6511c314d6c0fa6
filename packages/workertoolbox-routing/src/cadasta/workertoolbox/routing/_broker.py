"""What a broker needs beyond its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Region of the queues where the transport options name none.
REGION = "us-west-2"

#: The options below, some of which a broker's client may not take.
_OURS = {"region", "queue_name_prefix", "copy_failure", "confirm_publish"}


def transport_options(*, prefix: str, copy_failure: str) -> dict[str, Any]:
    """Return transport options for every broker at once.

    The URL may come from the environment or be set later; each transport takes what
    is for it.

    Args:
        prefix: What SQS puts before each queue name, without the hyphen.
        copy_failure: What to do when a copy cannot be sent: `log` or `raise`.
    """
    return {
        # SQS
        "region": REGION,
        "queue_name_prefix": f"{prefix}-",
        # where the client makes the copy
        "copy_failure": copy_failure,
        # RabbitMQ: without it, a message that is lost on the way is lost in silence
        "confirm_publish": True,
    }


@contextmanager
def without_options_of_others(client: Any, *own: str) -> Iterator[None]:
    """Leave out the options that are for other brokers, for as long as a block lasts.

    Args:
        client: The `kombu.Connection` that a transport belongs to.
        own: Those among ours that this broker takes.
    """
    before = client.transport_options or {}
    left_out = _OURS.difference(own)
    client.transport_options = {
        name: value for name, value in before.items() if name not in left_out
    }
    try:
        yield
    finally:
        client.transport_options = before
