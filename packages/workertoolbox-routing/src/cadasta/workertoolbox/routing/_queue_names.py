"""Checks of queue names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from cadasta.workertoolbox.routing._errors import InvalidQueues

#: Longest queue name on SQS in characters, with prefix and `.fifo`: "Amazon SQS queue
#: quotas" in the SQS developer guide.
MAX_LENGTH = 80

#: Names that SQS accepts. The rule holds on every broker, so that a service can change
#: its broker.
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.fifo)?")
_PREFIX = re.compile(r"[A-Za-z0-9_-]+")


def check_queues(queues: object, *, monitor: str, prefix: str) -> tuple[str, ...]:
    """Return the names of the work queues in their order.

    Args:
        queues: A list or tuple of names.
        monitor: Name of the task-monitor queue, which must not be among them.
        prefix: The prefix of each name on SQS.

    Raises:
        InvalidQueues: `queues` is not a list or is empty; or a name is not a string,
            occurs twice, is that of the monitor queue, or would be refused by SQS.
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
    for name in queues:
        check_queue_name(name, prefix=prefix)
    if monitor in queues:
        raise InvalidQueues(
            f"queue {monitor!r} is the task monitor's own and is always declared; "
            "remove it from queues, or set PLATFORM_QUEUE_NAME to another name"
        )
    _refuse_duplicates(queues)
    return tuple(queues)


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


def check_queue_name(name: object, *, prefix: str) -> None:
    """Refuse a queue name that SQS does not accept.

    Raises:
        InvalidQueues: The name is not a string, is too long with its prefix, or has a
            character that SQS refuses.
    """
    if not isinstance(name, str):
        raise InvalidQueues(f"queue names must be strings, got {name!r}")
    if not _NAME.fullmatch(name):
        raise InvalidQueues(
            f"{name!r} is not a queue name that SQS accepts; use letters, digits, '-' "
            "and '_', and '.fifo' only at the end"
        )
    length = len(prefix + name)
    if length > MAX_LENGTH:
        raise InvalidQueues(
            f"queue name {name!r} has {length} characters with its prefix "
            f"{prefix!r}, but SQS accepts only {MAX_LENGTH}; shorten it"
        )


def _refuse_duplicates(queues: Iterable[str]) -> None:
    for name, count in Counter(queues).items():
        if count > 1:
            raise InvalidQueues(
                f"queue {name!r} is listed {count} times; list each queue once"
            )
