"""The web page of the demo, with a generated week of history."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Never, Self

from celery import Celery
from rich.console import Console

from cadasta.workertoolbox.results import TaskStore
from export_demo.processes import Processes
from export_demo.week import generate, has_week, write

#: Seconds between two looks at the processes.
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the page, such as `127.0.0.1:8555`."""

    host: str
    port: int

    @classmethod
    def free(cls, text: str) -> Self:
        """Return an address on which nothing listens yet.

        Raises:
            OSError: It is malformed or in use.
        """
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or int(port) > 65_535:
            raise OSError(f"{text!r} is not an address such as 127.0.0.1:8555")
        try:
            socket.create_server((host, int(port))).close()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise OSError(f"cannot listen on {text}: {reason}; see --bind") from error
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def show_pages(
    app: Celery,
    store: TaskStore,
    processes: Processes,
    address: Address,
    console: Console,
) -> Never:
    """Write a week of history, and wait until a signal interrupts it.

    Args:
        address: Where one of the processes serves the pages.

    Raises:
        ProcessEnded: A process has ended.
    """
    if not has_week(store):
        console.print("\nWriting a week of a shop: about 20,000 tasks.")
        write(app, generate(now=datetime.now(UTC)))
    while not _is_listening(address):
        processes.check()
        time.sleep(LOOK_EVERY_S)
    console.print(f"\nhttp://{address} shows all tasks, until Ctrl-C.")
    while True:
        processes.check()
        time.sleep(LOOK_EVERY_S)


def _is_listening(address: Address) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address.host, address.port)) == 0
