"""The thread of a monitor that uses the database, and the batch that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from kombu.message import Message

from cadasta.workertoolbox.results._monitor.backoff import TICK_S


class _SubmittedBatch(NamedTuple):
    messages: Sequence[Message]
    #: Whether the messages are committed, once they are written.
    is_committed: Future[bool]


class WriterThread:
    """Writes batches one after the other, and acknowledges each after its commit.

    Only this thread writes messages, and only the thread that calls these methods uses
    the broker, whose client is not thread-safe.

    Args:
        write: Commits messages; returns False if it gave up.
        while_waiting: Called once a second during a wait for a batch.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Message]], bool],
        *,
        while_waiting: Callable[[], object],
    ) -> None:
        self._write = write
        self._while_waiting = while_waiting
        self._executor = ThreadPoolExecutor(1, "writer")
        self._batch: _SubmittedBatch | None = None
        self._is_amqp = False

    @property
    def has_batch(self) -> bool:
        """Whether a batch is submitted and not acknowledged yet."""
        return self._batch is not None

    def restart(self, *, is_amqp: bool) -> None:
        """Forget the batch of an earlier connection: the broker delivers it again."""
        self._batch = None
        self._is_amqp = is_amqp

    def submit_batch(self, messages: Sequence[Message]) -> None:
        """Write messages, if there are any, after the previous batch."""
        self.acknowledge_written()
        if not messages:
            return
        is_committed = self._executor.submit(self._write, messages)
        self._batch = _SubmittedBatch(messages, is_committed)
        if not self._is_amqp:
            # A virtual transport may poll for seconds, during which no message could be
            # acknowledged.
            self.acknowledge_written()

    def acknowledge_if_written(self) -> None:
        """Acknowledge the submitted batch if it is written already."""
        if self._batch is not None and self._batch.is_committed.done():
            self.acknowledge_written()

    def acknowledge_written(self) -> None:
        """Wait until the submitted batch is written, and acknowledge its messages."""
        if self._batch is None:
            return
        messages, is_committed = self._batch
        while not wait([is_committed], timeout=TICK_S).done:
            self._while_waiting()
        self._batch = None
        if is_committed.result():
            self._acknowledge(messages)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        if self._is_amqp:
            # The batch holds all unacknowledged messages of the channel up to its last.
            messages[-1].ack(multiple=True)
            return
        for message in messages:
            message.ack()

    def submit(self, function: Callable[[], None]) -> Future[None]:
        """Call a function in the thread, after what is submitted already."""
        return self._executor.submit(function)

    def shutdown(self) -> None:
        """Wait until all that is submitted is done."""
        self._executor.shutdown()
