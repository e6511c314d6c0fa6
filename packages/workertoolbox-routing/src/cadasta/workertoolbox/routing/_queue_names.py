"""Checks of queue names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from kombu import Queue

from cadasta.workertoolbox.routing._errors import InvalidQueues

#: Longest queue name on SQS in characters, with prefix and `.fifo`: "Amazon SQS queue
#: quotas" in the SQS developer guide.
MAX_LENGTH = 80

#: Longest queue name on RabbitMQ, in bytes: a short string of AMQP 0-9-1.
MAX_BYTES = 255

#: Names that SQS accepts.
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.fifo)?")
_PREFIX = re.compile(r"[A-Za-z0-9_-]+")


def check_queues(
    queues: object, *, monitor: str, prefix: str, on_sqs: bool
) -> tuple[str, ...]:
    """Return the names of the work queues in their order.

    Args:
        queues: A list or tuple of names and `Queue` objects.
        monitor: Name of the task-monitor queue, which must not be among them.
        prefix: The prefix of each name on SQS.
        on_sqs: Whether the broker is SQS, or not known.

    Raises:
        InvalidQueues: `queues` is not a list or is empty; or a name is not a string,
            occurs twice, is that of the monitor queue, or would be refused by the
            broker.
    """
    if not isinstance(queues, list | tuple):
        raise InvalidQueues(
            f"queues must be a list of queue names, got {queues!r}; "
            'write queues=["export", "msg"]'
        )
    if not queues:
        raise InvalidQueues(
            'queues is empty; list the work queues, as in queues=["export", "msg"]'
        )
    names = [queue.name if isinstance(queue, Queue) else queue for queue in queues]
    for name in names:
        check_queue_name(name, prefix=prefix, on_sqs=on_sqs)
    if monitor in names:
        raise InvalidQueues(
            f"queue {monitor!r} is the task monitor's own and is always declared; "
            "remove it from queues, or set PLATFORM_QUEUE_NAME to another name"
        )
    _refuse_duplicates(names)
    return tuple(names)


def check_prefix(setting: str, prefix: object) -> None:
    """Refuse a queue name prefix that SQS does not accept.

    Args:
        setting: Name of the setting, for the error message.

    Raises:
        InvalidQueues: The prefix is not a string, or has a character that SQS refuses.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise InvalidQueues(
            f"{setting}={prefix!r} is not a prefix that SQS accepts; use letters, "
            "digits, '-' and '_'"
        )


def check_queue_name(name: object, *, prefix: str, on_sqs: bool) -> None:
    """Refuse a queue name that the broker does not accept.

    Args:
        prefix: The prefix of each name on SQS.
        on_sqs: Whether the broker is SQS, or not known.

    Raises:
        InvalidQueues: The name is not a string, is too long, or has a character that
            the broker refuses.
    """
    if not isinstance(name, str):
        raise InvalidQueues(f"queue names must be strings, got {name!r}")
    if on_sqs:
        if problem := sqs_name_problem(name, prefix=prefix):
            raise InvalidQueues(problem)
        return
    if (
        not name.isprintable()
        or not 0 < len(name.encode()) <= MAX_BYTES
        or name.startswith("amq.")
        or "/" in name
        or not {"*", "#"}.isdisjoint(name.split("."))
    ):
        raise InvalidQueues(
            f"{name!r} is not a queue name that every part of the toolbox accepts; use "
            f"1 to {MAX_BYTES} bytes of printable characters but '/', no 'amq.' at the "
            "beginning, and neither '*' nor '#' between two dots"
        )


def sqs_name_problem(name: str, *, prefix: str) -> str | None:
    """Return why SQS would refuse the name of a queue, or None.

    Args:
        prefix: The prefix of each name on SQS.
    """
    if not _NAME.fullmatch(name):
        return (
            f"{name!r} is not a queue name that SQS accepts; use letters, digits, '-' "
            "and '_', and '.fifo' only at the end"
        )
    length = len(prefix + name)
    if length > MAX_LENGTH:
        return (
            f"queue name {name!r} has {length} characters with its prefix "
            f"{prefix!r}, but SQS accepts only {MAX_LENGTH}; shorten it"
        )
    return None


def _refuse_duplicates(queues: Iterable[str]) -> None:
    for name, count in Counter(queues).items():
        if count > 1:
            raise InvalidQueues(
                f"queue {name!r} is listed {count} times; list each queue once"
            )
