"""Polls of a worker with an event loop: the next one as soon as a task may be taken.

A worker takes no message while it holds as many as its prefetch limit allows. kombu
treats that like an empty queue and looks again after `polling_interval`, a second. With
a limit of one message for each process, a process then runs one short task a second.

Polls begin in timers of the event loop, and some answers are read in one. The loop logs
the error of a timer and goes on: a worker whose poll is refused would wait for a queue
that nothing polls any more. Here such an error is raised by the loop, as any other is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu.asynchronous.http.curl import CurlClient
from kombu.transport import SQS

#: Seconds after which a channel looks again whether it may take a message, if no
#: acknowledgement has told it. That costs no request to SQS.
_RECHECK_S = 0.1


class PollingClient(CurlClient):
    """kombu's HTTP client, with the errors of its timers raised by the event loop."""

    def _timeout_check(self) -> None:
        with _raised_by(self.hub):
            super()._timeout_check()


class PollingChannel(SQS.Channel):
    """A channel of kombu that polls when an acknowledgement makes room."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The queues that wait for room, the one that waits longest first, with the
        #: timers that end their wait.
        self._waiting: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message, and poll if that makes room."""
        try:
            super().basic_ack(delivery_tag, multiple)
        finally:
            self._poll_waiting()

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message, and poll if that makes room."""
        try:
            super().basic_reject(delivery_tag, requeue)
        finally:
            self._poll_waiting()

    def close(self) -> None:
        """Close the channel, which ends the waits."""
        self._waiting.clear()
        super().close()

    def asynsqs(self, queue: str | None = None) -> Any:
        """Return kombu's client for polls, which sends by the client of the loop."""
        if not hasattr(self.hub, "_current_http_client"):
            self.hub._current_http_client = PollingClient(self.hub)
        return super().asynsqs(queue=queue)

    def _schedule_queue(self, queue: str) -> None:
        """Poll a queue, or make it wait for room. kombu calls this for each poll."""
        if queue not in self._active_queues or self.qos.can_consume():
            with _raised_by(self.hub):
                super()._schedule_queue(queue)
        elif queue not in self._waiting:
            timer = self.hub.call_later(_RECHECK_S, self._end_waits, (queue,))
            self._waiting[queue] = timer

    def _poll_waiting(self) -> None:
        """Poll as many waiting queues as there is room for."""
        if not self._waiting or not self.hub:
            return
        room = self.qos.can_consume_max_estimate()
        # A pool of threads acknowledges in its own threads.
        queues = list(self._waiting.copy())[:room]
        for queue in queues:
            with suppress(KeyError):
                self._waiting[queue].cancel()
        self.hub.call_soon(self._end_waits, queues)

    def _end_waits(self, queues: Iterable[str]) -> None:
        """Poll queues that still wait; the timer or an acknowledgement comes first."""
        for queue in queues:
            if self._waiting.pop(queue, None) is not None:
                self._schedule_queue(queue)


@contextmanager
def _raised_by(hub: Any) -> Iterator[None]:
    """Let the event loop raise an error of the block in its next round."""
    try:
        yield
    except Exception as error:
        hub.call_soon(_raise, error)


def _raise(error: Exception) -> None:
    raise error
