"""A service with routing alone: `python routing_service.py worker`, as with `celery`.

`python routing_service.py hold END COUNT` holds messages of the monitor queue.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from celery import Celery, Task
from kombu import Connection, Consumer
from kombu.message import Message

from cadasta.workertoolbox.routing import Routing

#: The environment's variable with the keywords to `Routing`, in JSON.
SETTINGS = "ROUTING_SERVICE_SETTINGS"

#: The environment's variable with the file that gets a line for each execution.
JOURNAL = "ROUTING_SERVICE_JOURNAL"

#: Seconds to wait for messages: they are there, or will be once they are given back.
TIMEOUT_S = 20.0


def make_app(settings: Mapping[str, Any]) -> Celery:
    """Return the service's app.

    Args:
        settings: Keywords to `Routing`.
    """
    app = Celery("routing", set_as_current=False)
    app.config_from_object(Routing(**{"queues": ["export", "msg"], **settings}))
    app.task(name="export.note", bind=True, shared=False)(_note)
    app.task(name="export.again", bind=True, shared=False)(_again)
    app.task(name="export.hang", bind=True, shared=False, acks_late=True)(_hang)
    return app


def consume(app: Celery, connection: Connection, queue: str, count: int) -> list[Any]:
    """Return that many messages of a queue, none of them acknowledged.

    Raises:
        TimeoutError: There were fewer.
    """
    deadline = time.monotonic() + TIMEOUT_S
    held: list[Message] = []
    consumer = Consumer(
        connection.default_channel,
        [app.amqp.queues[queue]],
        on_message=held.append,
        prefetch_count=count,
    )
    with consumer:
        while len(held) < count:
            with suppress(TimeoutError):
                connection.drain_events(timeout=1)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(held)} of {count} messages in {queue!r}")
    return held


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


def _suffer(app: Celery, way: str, count: int) -> None:
    with app.connection_for_read() as connection:
        # As one that also publishes: some brokers know bindings by connection only.
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
        held = consume(app, connection, app.conf.PLATFORM_QUEUE_NAME, count)
        print("holds", count, flush=True)
        ENDS[way](held)
    print("closed", flush=True)


def _requeue(messages: list[Message]) -> None:
    for message in messages:
        message.requeue()


#: What becomes of the copies that a reader of the monitor queue holds.
ENDS: dict[str, Callable[[list[Message]], object]] = {
    "requeued": _requeue,
    "closed": lambda _: None,
    "killed": lambda _: signal.pause(),
}


if __name__ == "__main__":
    app = make_app(json.loads(os.environ[SETTINGS]))
    if sys.argv[1] == "hold":
        _suffer(app, sys.argv[2], int(sys.argv[3]))
    else:
        app.start(sys.argv[1:])
