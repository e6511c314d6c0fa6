"""What a broker needs beyond its URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._queue_names import check_prefix

#: Region of the queues where the transport options name none.
REGION = "us-west-2"

#: Options that we give for every broker at once, below or in conf, some of which a
#: broker's client may not take.
_OURS = {
    "client-config",
    "confirm_publish",
    "copy_failure",
    "queue_name_prefix",
    "region",
    "wait_time_seconds",
}


def transport_options(
    given: Mapping[str, Any], *, prefix: str, copy_failure: str
) -> dict[str, Any]:
    """Return transport options for every broker at once.

    The URL may come from the environment or be set later; each transport takes what
    is for it.

    Args:
        given: The user's own options, which win.
        prefix: What SQS puts before each queue name, without the hyphen. The names of
            predefined queues are whole.
        copy_failure: What to do when a copy cannot be sent: `log` or `raise`.

    Raises:
        InvalidQueues: The prefix has a character that SQS refuses.
    """
    options = {
        # SQS
        "region": REGION,
        "queue_name_prefix": "" if given.get("predefined_queues") else f"{prefix}-",
        # where the client makes the copy
        "copy_failure": copy_failure,
        # RabbitMQ: without it, a message that is lost on the way is lost in silence
        "confirm_publish": True,
        **given,
    }
    if options["queue_name_prefix"]:
        check_prefix("queue_name_prefix", options["queue_name_prefix"])
    return options


def check_predefined(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse predefined queues of SQS that leave one of ours out.

    Args:
        options: The transport options.
        names: The queues that every connection declares.

    Raises:
        InvalidSetting: Names the queues that are missing.
    """
    predefined = options.get("predefined_queues")
    if not predefined:
        return
    whole = [f"{options['queue_name_prefix']}{name}" for name in names]
    missing = [name for name in whole if name not in predefined]
    if missing:
        raise InvalidSetting(
            f"predefined_queues has no {' and no '.join(map(repr, missing))}; kombu "
            "makes no queue then, so name each queue with its url"
        )


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
