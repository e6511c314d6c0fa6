"""A consumer that writes encoded rows, and reads no message.

Like the monitor, it writes 500 messages with one statement in a thread of its own. Its
rate is the limit for a monitor that reads, redacts and encodes messages at no cost.
"""

from __future__ import annotations

import sys
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from kombu.message import Message
from sqlalchemy import create_engine

from cadasta.workertoolbox.results._database import tables
from cadasta.workertoolbox.results._monitor import message_arrays
from measuring.drain import BATCH, consume


def main(url: str, name: str, database: str, messages: str) -> None:
    """Consume at most a number of messages, until the process is stopped."""
    engine = create_engine(database)
    batches = [_arrays() for _ in range(int(messages) // BATCH)]
    waiting: list[Message] = []
    writing: list[tuple[Message, Future[None]]] = []

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(message_arrays._insert_messages(), batches.pop())

    def receive(message: Message) -> None:
        waiting.append(message)
        if len(waiting) >= BATCH:
            acknowledge()
            writing.append((message, thread.submit(write)))
            waiting.clear()

    def acknowledge() -> None:
        while writing:
            last, written = writing.pop()
            written.result()
            last.ack(multiple=True)

    with ThreadPoolExecutor(1) as thread:
        consume(url, name, receive, when_idle=acknowledge, prefetched=4 * BATCH)


def _arrays() -> dict[str, str]:
    """Return a batch as the monitor writes it: one array for each column."""
    now = datetime.now(UTC)
    row = {
        "name": "export.project",
        "queue": "export",
        "args": [1, "some/folder"],
        "kwargs": {"size": 1},
        "replaced": 0,
        "retries": 0,
        "scheduled_at": now,
        "seen_at": now,
        "origin": "me@host",
        "ignore_result": False,
    }
    ids = sorted(str(uuid.uuid4()) for _ in range(BATCH))
    own = {"id": ids, "root_id": ids}
    return {
        column: message_arrays._encode(own.get(column) or [row.get(column)] * BATCH)
        for column in tables.task.c.keys()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
