"""Transport options: what a broker needs beyond its URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._queue_names import check_prefix

#: AWS region of the queues if the transport options do not name one.
REGION = "us-west-2"

#: Seconds to wait for RabbitMQ to confirm a task: half of the time after which gunicorn
#: ends a worker that does not answer, so that the caller sees the error.
CONFIRM_TIMEOUT_S = 15.0

#: Queue attributes that SQS accepts for FIFO queues only.
FIFO_ATTRIBUTES = frozenset(
    {
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "FifoQueue",
        "FifoThroughputLimit",
    }
)

#: Options that the toolbox sets for every broker at once, here or in
#: workertoolbox-conf. The clients of some brokers do not accept all of them.
_TOOLBOX_OPTIONS = {
    "client-config",
    "confirm_publish",
    "confirm_timeout",
    "copy_failure",
    "queue_name_prefix",
    "region",
    "wait_time_seconds",
}


def transport_options(
    given: Mapping[str, Any], *, prefix: str, copy_failure: str
) -> dict[str, Any]:
    """Return transport options for all brokers at once.

    The broker is not known yet, because its URL may come from the environment or be set
    later. Each transport takes the options that are meant for it.

    Args:
        given: The user's own options, which win.
        prefix: The prefix of each queue name on SQS, without the hyphen. Predefined
            queues have no prefix.
        copy_failure: What to do when a copy cannot be sent: `log` or `raise`.

    Raises:
        InvalidQueues: The prefix has a character that SQS refuses.
        InvalidSetting: The option `confirm_timeout` is not a positive number.
    """
    options = {
        # SQS
        "region": REGION,
        "queue_name_prefix": "" if given.get("predefined_queues") else f"{prefix}-",
        # Brokers where the client makes the copy
        "copy_failure": copy_failure,
        # RabbitMQ: without confirms, a message can be lost silently on its way.
        "confirm_publish": True,
        "confirm_timeout": CONFIRM_TIMEOUT_S,
        **given,
    }
    _check_confirm_timeout(options["confirm_timeout"])
    if options["queue_name_prefix"]:
        check_prefix("queue_name_prefix", options["queue_name_prefix"])
    return options


def _check_confirm_timeout(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidSetting(
            f"the transport option confirm_timeout={value!r} must be a positive number "
            f"of seconds; the default is {CONFIRM_TIMEOUT_S:g}"
        )


def check_predefined_queues(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse predefined queues of SQS if a declared queue is missing among them.

    Args:
        options: The transport options.
        names: The queues that every connection declares.

    Raises:
        InvalidSetting: Queues are missing; the message names them.
    """
    predefined = options.get("predefined_queues")
    if not predefined:
        return
    full_names = [f"{options['queue_name_prefix']}{name}" for name in names]
    missing = [name for name in full_names if name not in predefined]
    if missing:
        raise InvalidSetting(
            f"predefined_queues has no {' and no '.join(map(repr, missing))}; list "
            "every queue with its url, because kombu creates none beside them: see "
            "docs/how-to/troubleshooting.md#predefined-queues-on-sqs"
        )


@contextmanager
def only_accepted_options(client: Any, *accepted: str) -> Iterator[None]:
    """Remove the toolbox's options for other brokers for the duration of a block.

    Args:
        client: The `kombu.Connection` that a transport belongs to.
        accepted: The toolbox's options that this broker's client accepts.
    """
    before = client.transport_options or {}
    removed = _TOOLBOX_OPTIONS.difference(accepted)
    client.transport_options = {
        name: value for name, value in before.items() if name not in removed
    }
    try:
        yield
    finally:
        client.transport_options = before
