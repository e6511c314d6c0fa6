"""A consumer that only acknowledges, 500 messages at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from kombu import Connection, Consumer, Queue
from kombu.message import Message

#: Messages that are acknowledged together, as in the monitor.
BATCH = 500


def main(url: str, name: str) -> None:
    """Consume until the process is stopped."""
    waiting: list[Message] = []

    def receive(message: Message) -> None:
        waiting.append(message)
        if len(waiting) >= BATCH:
            acknowledge()

    def acknowledge() -> None:
        if waiting:
            waiting[-1].ack(multiple=True)
            waiting.clear()

    consume(url, name, receive, when_idle=acknowledge, prefetched=2 * BATCH)


def consume(
    url: str,
    name: str,
    take: Callable[[Message], None],
    *,
    when_idle: Callable[[], object],
    prefetched: int,
) -> NoReturn:
    """Consume a queue until the process is stopped; print a line at the start."""
    with Connection(url, heartbeat=0) as connection:
        queue = Queue(name, no_declare=True)
        with Consumer(
            connection.default_channel,
            [queue],
            on_message=take,
            prefetch_count=prefetched,
        ):
            print("consuming", flush=True)
            while True:
                try:
                    connection.drain_events(timeout=0.2)
                except TimeoutError:
                    when_idle()


if __name__ == "__main__":
    main(*sys.argv[1:])
