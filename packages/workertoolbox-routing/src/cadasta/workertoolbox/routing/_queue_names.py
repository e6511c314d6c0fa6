"""Queue names that every broker takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from cadasta.workertoolbox.routing._errors import InvalidQueues

#: Longest queue name of SQS in characters, prefix and `.fifo` included:
#: "Amazon SQS queue quotas" in the SQS developer guide.
MAX_LENGTH = 80

#: The names SQS takes. They hold on every broker, so that a service can move.
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.fifo)?")
_PREFIX = re.compile(r"[A-Za-z0-9_-]+")


def check_queues(queues: object, *, monitor: str, prefix: str) -> tuple[str, ...]:
    """Return the names of the work queues, in the order given.

    Args:
        queues: A list or tuple of names.
        monitor: Name of the task-monitor queue, which is no work queue.
        prefix: What SQS puts before each name.

    Raises:
        InvalidQueues: No list, an empty one, or a name that is no string, occurs
            twice, is the monitor's, or that SQS would refuse.
    """
    if not isinstance(queues, list | tuple):
        raise InvalidQueues(
            f"queues has to be a list of queue names, not {queues!r}; "
            'write queues=["export", "msg"]'
        )
    if not queues:
        raise InvalidQueues(
            'queues is empty; name the work queues, as in queues=["export", "msg"]'
        )
    for name in queues:
        check_queue_name(name, prefix=prefix)
    if monitor in queues:
        raise InvalidQueues(
            f"queue {monitor!r} is the task monitor's own; leave it out, it is "
            "declared without being named (or set PLATFORM_QUEUE_NAME to another name)"
        )
    _refuse_duplicates(queues)
    return tuple(queues)


def check_prefix(setting: str, prefix: object) -> None:
    """Refuse a prefix with which SQS would take no name.

    Args:
        setting: Where it was set.

    Raises:
        InvalidQueues: It is no string, or has a character that SQS refuses.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise InvalidQueues(
            f"{setting}={prefix!r} would be refused by SQS before a queue name; use "
            "letters, digits, '-' and '_'"
        )


def check_queue_name(name: object, *, prefix: str) -> None:
    """Refuse a queue name that SQS would not take.

    Raises:
        InvalidQueues: The name is no string, too long with its prefix, or has a
            character that SQS refuses.
    """
    if not isinstance(name, str):
        raise InvalidQueues(f"queue name {name!r} is no string; name queues by strings")
    if not _NAME.fullmatch(name):
        raise InvalidQueues(
            f"queue name {name!r} would be refused by SQS; use letters, digits, "
            "'-' and '_', and '.fifo' only at the end"
        )
    length = len(prefix + name)
    if length > MAX_LENGTH:
        raise InvalidQueues(
            f"queue name {name!r} has {length} characters with its prefix "
            f"{prefix!r}, and SQS takes {MAX_LENGTH}; shorten it"
        )


def _refuse_duplicates(queues: Iterable[str]) -> None:
    for name, count in Counter(queues).items():
        if count > 1:
            raise InvalidQueues(
                f"queue {name!r} is named {count} times; name each queue once"
            )
