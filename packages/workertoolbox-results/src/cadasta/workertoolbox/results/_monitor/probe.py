"""Messages that only show that the way to the monitor is open."""

from __future__ import annotations

from collections.abc import Mapping

from kombu.message import Message

#: The header of a message that a check-up has sent. A monitor acknowledges it, and
#: keeps nothing of it.
PROBE = "workertoolbox_probe"


def is_probe(message: Message) -> bool:
    """Tell a probe from a task, which stays one whatever headers it brings along."""
    headers = message.headers
    return isinstance(headers, Mapping) and PROBE in headers and "task" not in headers
