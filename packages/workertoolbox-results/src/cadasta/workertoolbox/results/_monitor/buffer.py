"""The buffer of received messages that the next batch will contain."""

from __future__ import annotations

import time

from kombu.message import Message

#: Total size in bytes of message bodies at which a batch is full: with up to a thousand
#: large messages prefetched, a limit on their number alone would not bound the memory.
FULL_BYTES = 32 * 1024 * 1024


class MessageBuffer:
    """Messages that have been received and not yet written.

    Args:
        max_messages: Number of messages at which the buffer is full.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._messages: list[Message] = []
        self._bytes = 0
        self._first_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, message: Message) -> None:
        """Add a received message."""
        if not self._messages:
            self._first_at = time.monotonic()
        self._messages.append(message)
        self._bytes += len(message.body or b"")

    def is_full(self) -> bool:
        """Return whether the messages should be written without waiting for more."""
        return len(self._messages) >= self._max_messages or self._bytes >= FULL_BYTES

    def remaining_s(self, max_wait_s: float) -> float:
        """Return how many seconds the first message may still wait for others.

        Args:
            max_wait_s: Longest time in seconds that a message waits.
        """
        return self._first_at + max_wait_s - time.monotonic()

    def is_due(self, max_wait_s: float) -> bool:
        """Return whether the buffer is full, or a message has waited for so long."""
        return self.is_full() or (bool(self) and self.remaining_s(max_wait_s) <= 0)

    def take_all(self) -> list[Message]:
        """Return all messages and empty the buffer."""
        messages, self._messages = self._messages, []
        self._bytes = 0
        return messages
