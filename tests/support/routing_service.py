"""A service with routing alone.

`python routing_service.py worker …` takes the arguments of `celery`;
`python routing_service.py hold COUNT` holds copies without acknowledging them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celery import Celery, Task
from celery.bin.celery import celery
from kombu import Connection, Consumer
from kombu.message import Message
from kombu.transport.virtual import Transport

from cadasta.workertoolbox.routing import Routing

#: The variable with the keyword arguments of `Routing`, in JSON.
SETTINGS = "ROUTING_SERVICE_SETTINGS"

#: The variable with the path of the file that gets a line for each run of a task.
JOURNAL = "ROUTING_SERVICE_JOURNAL"

#: Seconds to wait for messages that are in the queue, or will be returned to it.
TIMEOUT_S = 60.0


def make_app(settings: Mapping[str, Any]) -> Celery:
    """Return the service's app.

    Args:
        settings: Keyword arguments of `Routing`.
    """
    app = Celery("routing", set_as_current=False)
    app.config_from_object(Routing(**{"queues": ["export", "msg"], **settings}))
    app.task(name="export.note", bind=True, shared=False)(_note)
    app.task(name="export.again", bind=True, shared=False)(_again)
    app.task(name="export.hang", bind=True, shared=False, acks_late=True)(_hang)
    return app


def consume(
    app: Celery,
    connection: Connection,
    queue: str,
    count: int,
    *,
    acknowledge: bool = False,
) -> list[Any]:
    """Read messages of a queue.

    Args:
        acknowledge: Acknowledge each message when it arrives; without it, none.

    Raises:
        TimeoutError: The queue had fewer than `count` messages.
    """
    deadline = time.monotonic() + TIMEOUT_S
    received: list[Message] = []

    def receive(message: Message) -> None:
        received.append(message)
        if acknowledge:
            message.ack()

    consumer = Consumer(
        connection.default_channel,
        [app.amqp.queues[queue]],
        on_message=receive,
        prefetch_count=count,
    )
    with consumer:
        while len(received) < count:
            with suppress(TimeoutError):
                connection.drain_events(timeout=1)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(received)} of {count} messages in {queue!r}")
    return received


def _note(self: Task[..., Any]) -> None:
    with open(os.environ[JOURNAL], "a", encoding="utf-8") as journal:
        journal.write(f"{self.request.id}\n")


def _again(self: Task[..., Any]) -> None:
    _note(self)
    if not self.request.retries:
        raise self.retry(countdown=1)


def _hang(self: Task[..., Any]) -> None:
    _note(self)
    signal.pause()


def _hold(app: Celery, count: int) -> None:
    with app.connection_for_read() as connection:
        # Declare, as a publisher does: some transports keep bindings per connection.
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
        held = consume(app, connection, app.conf.PLATFORM_QUEUE_NAME, count)
        print("holds", len(held), flush=True)
        signal.pause()


if __name__ == "__main__":
    # A second by default, for which kombu's SQLAlchemy transport has no option.
    Transport.polling_interval = 0.1
    app = make_app(json.loads(os.environ[SETTINGS]))
    if sys.argv[1] == "hold":
        _hold(app, int(sys.argv[2]))
    else:
        # Not `app.start`, which returns nothing: the exit code would be 0.
        celery.main(["-A", app, *sys.argv[1:]])  # type: ignore[list-item]
