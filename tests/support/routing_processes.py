"""`routing_service` on a broker: its app in this process, and its processes."""

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

#: Options of a worker, without the features that would add messages of their own.
WORKER = ("--without-gossip", "--without-mingle", "-l", "INFO")


def routing_settings(contents: QueueContents, /, **settings: Any) -> dict[str, Any]:
    """Return keyword arguments of `Routing`, with the broker of the queues.

    Transport options in `settings` are added to those of the broker.
    """
    options = settings.pop("broker_transport_options", {})
    return {
        "broker_url": contents.access.url,
        "broker_transport_options": {**contents.access.transport_options, **options},
        **settings,
    }


@contextmanager
def routing_app(contents: QueueContents, /, **settings: Any) -> Iterator[Celery]:
    """Yield the app of the service, which is closed when the block ends."""
    app = routing_service.make_app(routing_settings(contents, **settings))
    try:
        yield app
    finally:
        # The pools belong to the process: the next app would use their connections.
        pools.reset()
        app.close()


def run_worker(
    contents: QueueContents, /, folder: Path, *arguments: str, **settings: Any
) -> AbstractContextManager[Process]:
    """Run a worker. It is ready once its output contains `ready`."""
    options = (*WORKER, *arguments)
    return _running(contents, folder, "worker", *options, **settings)


def run_command(
    contents: QueueContents, /, folder: Path, *arguments: str, **settings: Any
) -> AbstractContextManager[Process]:
    """Run a Celery command."""
    return _running(contents, folder, *arguments, **settings)


def run_copy_holder(
    contents: QueueContents, /, folder: Path, count: int, **settings: Any
) -> AbstractContextManager[Process]:
    """Run a process that holds some copies without acknowledging them."""
    return _running(contents, folder, "hold", str(count), **settings)


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
        # A worker with a task that hangs does not end by itself.
        timeout_s=10.0,
    )


def executions(folder: Path) -> list[str]:
    """Return the ids of the tasks that workers have run, sorted."""
    with suppress(FileNotFoundError):
        return sorted((folder / "journal").read_text("utf-8").split())
    return []


def wait_for_executions(
    folder: Path, ids: list[str], *, timeout_s: float = 60.0
) -> None:
    """Wait until workers have run these tasks, each as often as it is listed."""

    def check() -> bool:
        found = executions(folder)
        assert found == sorted(ids), f"executed {found} instead of {sorted(ids)}"
        return True

    wait_until(check, timeout_s=timeout_s)


def consume_ids(app: Celery, queue: str, count: int) -> list[str]:
    """Consume messages of a queue, and return the ids of their tasks, sorted."""
    with app.connection_for_read() as connection:
        # At once, because a visibility timeout may be as short as a second.
        messages = routing_service.consume(
            app, connection, queue, count, acknowledge=True
        )
    return sorted(message.headers["id"] for message in messages)
