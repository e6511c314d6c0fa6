"""Amazon SQS as moto emulates it; each test gets a prefix for its queues."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers.access import BrokerAccess
from servers.availability import skip_or_fail
from servers.ports import HOST, free_ports, is_listening
from support.processes import Process, running


@dataclass(frozen=True)
class SQS:
    """The emulator.

    Attributes:
        url: The broker URL; its credentials are any, as the emulator checks none.
    """

    url: str

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Give a prefix of queue names away; the queues go with the emulator."""
        yield BrokerAccess(
            self.url,
            {
                "is_secure": False,
                "region": "us-west-2",
                "queue_name_prefix": f"{uuid.uuid4().hex[:12]}-",
                # Seconds, as short as SQS counts: a test should not wait for a poll.
                "wait_time_seconds": 1,
                "polling_interval": 0.1,
            },
        )


@dataclass(frozen=True)
class Node:
    """The port of an emulator that the test starts and stops itself.

    Attributes:
        server: What clients see of it.
    """

    server: SQS
    _folder: Path
    _port: int

    def running(self) -> AbstractContextManager[Process]:
        """Run the emulator, which keeps all in memory, as long as the block lasts."""
        command = [sys.executable, "-m", "moto.server", "-H", HOST]
        return running(
            [*command, "-p", str(self._port)],
            folder=self._folder,
            name="moto",
            ready=lambda: is_listening(self._port),
            print_output=False,
        )


def node(folder: Path) -> Node:
    """Make an emulator that is still to be started."""
    if importlib.util.find_spec("moto") is None:
        skip_or_fail("SQS", "moto[server] is not installed")
    [port] = free_ports(1)
    return Node(SQS(f"sqs://testing:testing@{HOST}:{port}/"), folder, port)


@contextmanager
def serve(folder: Path) -> Iterator[SQS]:
    """Run the emulator."""
    one = node(folder)
    with one.running():
        yield one.server
