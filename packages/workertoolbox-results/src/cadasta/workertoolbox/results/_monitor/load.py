"""Whether more messages are waiting than a monitor has received."""

from __future__ import annotations

import time

#: Seconds for which full batches show that more messages are waiting: longer than a
#: batch takes while all monitors and the archiver are at work.
HIGH_S = 2.0

#: Maximum number of messages that a request to SQS returns. The monitor writes them
#: at once.
SQS_BATCH_SIZE = 10

#: Number of full requests to SQS in a row after which more messages are waiting: one
#: such request may have returned the messages of one workflow.
SQS_BATCHES = 5


class Load:
    """What the sizes of batches say about the queue.

    One thread may add batches while others ask.

    Args:
        batch_size: Number of messages in a full batch, except on SQS.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._is_sqs = False
        self._full_batches = 0
        self._high_until = 0.0

    def restart(self, *, is_sqs: bool) -> None:
        """Begin with a new connection to the broker."""
        self._is_sqs = is_sqs
        self._full_batches = 0

    def add(self, messages: int) -> None:
        """Note that a batch of messages has been written."""
        size, batches = self._batch_size, 1
        if self._is_sqs:
            size, batches = min(size, SQS_BATCH_SIZE), SQS_BATCHES
        self._full_batches = self._full_batches + 1 if messages >= size else 0
        if self._full_batches >= batches:
            self._high_until = time.monotonic() + HIGH_S

    def is_high(self) -> bool:
        """Return whether more messages were waiting a moment ago."""
        return time.monotonic() < self._high_until
