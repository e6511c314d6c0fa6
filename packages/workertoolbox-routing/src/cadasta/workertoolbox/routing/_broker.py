"""What a broker needs beyond its URL."""

from __future__ import annotations

from typing import Any

#: Region of the queues where the transport options name none.
REGION = "us-west-2"

#: Options below that RabbitMQ's client would not take.
OPTIONS_OF_OTHERS = {"region", "queue_name_prefix", "copy_failure"}


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
