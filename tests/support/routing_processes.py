"""Services on a contents: an app in this process, and processes of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import pools

from support import routing_service
from support.polling import wait_until
from support.processes import Process, running
from support.queue_contents import QueueContents

#: How a worker is started, without what would only add messages to read past.
WORKER = ("--without-gossip", "--without-mingle", "-l", "INFO")


def routing_settings(contents: QueueContents, /, **settings: Any) -> dict[str, Any]:
    """Return keywords to `Routing`; transport options are added to the contents's."""
    options = settings.pop("broker_transport_options", {})
    return {
        "broker_url": contents.access.url,
        "broker_transport_options": {**contents.access.transport_options, **options},
        **settings,
    }


@contextmanager
def routing_app(contents: QueueContents, /, **settings: Any) -> Iterator[Celery]:
    """Yield an app of this process that is closed when the block ends."""
    app = routing_service.make_app(routing_settings(contents, **settings))
    try:
        yield app
    finally:
        # They are of the process, so that the next app would get these connections.
        pools.reset()
        app.close()


def run_worker(
    contents: QueueContents, /, folder: Path, *arguments: str, **settings: Any
) -> AbstractContextManager[Process]:
    """Run a worker process, which is ready once it says `ready`."""
    options = (*WORKER, *arguments)
    return _running(contents, folder, "worker", *options, **settings)


def run_command(
    contents: QueueContents, /, folder: Path, *arguments: str, **settings: Any
) -> AbstractContextManager[Process]:
    """Run a command of Celery's."""
    return _running(contents, folder, *arguments, **settings)


def run_copy_holder(
    contents: QueueContents, /, folder: Path, way: str, count: int, **settings: Any
) -> AbstractContextManager[Process]:
    """Run a process that holds copies and comes to one of `routing_service.ENDS`."""
    return _running(contents, folder, "hold", way, str(count), **settings)


def _running(
    contents: QueueContents, /, folder: Path, *arguments: str, **settings: Any
) -> AbstractContextManager[Process]:
    return running(
        [sys.executable, routing_service.__file__, *arguments],
        folder=folder,
        environment={
            routing_service.SETTINGS: json.dumps(
                routing_settings(contents, **settings)
            ),
            routing_service.JOURNAL: str(folder / "journal"),
        },
        name=arguments[0],
        # A worker whose task hangs would not end by itself.
        timeout_s=10.0,
    )


def executions(folder: Path) -> list[str]:
    """Return the ids of the tasks that workers have executed, sorted."""
    with suppress(FileNotFoundError):
        return sorted((folder / "journal").read_text("utf-8").split())
    return []


def wait_for_executions(folder: Path, ids: list[str]) -> None:
    """Wait until workers have executed these tasks, each as often as it is named."""

    def look() -> bool:
        seen = executions(folder)
        assert seen == sorted(ids), f"executed {seen} instead of {sorted(ids)}"
        return True

    wait_until(look)


def consume_ids(app: Celery, queue: str, count: int) -> list[str]:
    """Consume that many messages of a queue, and return their ids, sorted."""
    with app.connection_for_read() as connection:
        messages = routing_service.consume(app, connection, queue, count)
        for message in messages:
            message.ack()
    return sorted(message.headers["id"] for message in messages)
