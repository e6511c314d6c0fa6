"""Messages that wait for each other, to be written together."""

from __future__ import annotations

import time

from kombu.message import Message

#: Bytes of bodies that are not kept waiting for others: a thousand large messages may
#: be prefetched.
FULL_BYTES = 32 * 1024 * 1024


class MessageBuffer:
    """Messages that have come and are not yet written.

    Args:
        size: Most messages.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: list[Message] = []
        self._bytes = 0
        self._since = 0.0

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, message: Message) -> None:
        """Take a message that has come."""
        if not self._messages:
            self._since = time.monotonic()
        self._messages.append(message)
        self._bytes += len(message.body or b"")

    def is_full(self) -> bool:
        """Return whether no other is waited for."""
        return len(self._messages) >= self._size or self._bytes >= FULL_BYTES

    def left_s(self, wait_s: float) -> float:
        """Return how long the first still waits of a time in seconds."""
        return self._since + wait_s - time.monotonic()

    def take(self) -> list[Message]:
        """Return all, and keep none."""
        messages, self._messages = self._messages, []
        self._bytes = 0
        return messages
