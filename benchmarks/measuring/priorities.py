"""The priority of the processes of a benchmark's fleet, which is below all others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from ingest import Fleet
from servers import rabbitmq
from servers.rabbitmq import RabbitMQ

#: The name of the reader's connections.
READER = "reader"

#: The processes of the server that work for the fleet.
BACKENDS = f"""
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> '{READER}'
"""

#: By how much other processes go before those of the fleet.
NICENESS = 19


def hold_back(pid: int) -> None:
    """Let other processes go before those of a session.

    Linux shares the processors among sessions first, if it groups them, and by the
    niceness of processes only within a session (sched(7), "The autogroup feature").

    Args:
        pid: The process that leads the session.
    """
    os.setpriority(os.PRIO_PGRP, pid, NICENESS)
    session = Path(f"/proc/{pid}/autogroup")
    if session.exists():
        session.write_text(str(NICENESS))


@contextmanager
def held_back(fleet: Fleet) -> Iterator[None]:
    """Let other processes go before those of the server that work for the fleet."""
    is_over = Event()

    def hold_back_new() -> None:
        while not is_over.wait(1):
            with fleet.engine.connect() as connection:
                for pid in connection.exec_driver_sql(BACKENDS).scalars():
                    with suppress(FileNotFoundError, ProcessLookupError):
                        hold_back(pid)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(hold_back_new)
        try:
            yield
        finally:
            is_over.set()
    done.result()


@contextmanager
def held_back_broker(folder: Path) -> Iterator[RabbitMQ]:
    """Run a broker that lets other processes go before it."""
    with rabbitmq.node(folder) as node, node.running() as process:
        hold_back(process.pid)
        yield node.server
