"""moto's emulator of Amazon SQS, on which each test gets a prefix for its queues."""

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
    """A running emulator.

    Attributes:
        url: The broker URL. The emulator accepts any credentials.
    """

    url: str

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Yield a prefix for queue names. The queues last as long as the emulator."""
        yield BrokerAccess(
            self.url,
            {
                "is_secure": False,
                "region": "us-west-2",
                "queue_name_prefix": f"{uuid.uuid4().hex[:12]}-",
                # The shortest long poll in seconds, so that tests do not wait.
                "wait_time_seconds": 1,
                "polling_interval": 0.1,
            },
        )


@dataclass(frozen=True)
class Node:
    """The port of an emulator that can be started several times.

    Attributes:
        server: The emulator, as clients see it.
    """

    server: SQS
    _folder: Path
    _port: int

    def running(self) -> AbstractContextManager[Process]:
        """Run the emulator, which keeps messages in memory, during the block."""
        command = [sys.executable, "-m", "moto.server", "-H", HOST]
        return running(
            [*command, "-p", str(self._port)],
            folder=self._folder,
            name="moto",
            ready=lambda: is_listening(self._port),
            print_output=False,
        )


def node(folder: Path) -> Node:
    """Create an emulator that the test starts and stops."""
    if importlib.util.find_spec("moto") is None:
        skip_or_fail("SQS", "moto[server] is not installed")
    [port] = free_ports(1)
    return Node(SQS(f"sqs://testing:testing@{HOST}:{port}/"), folder, port)


@contextmanager
def serve(folder: Path) -> Iterator[SQS]:
    """Run the emulator."""
    emulator = node(folder)
    with emulator.running():
        yield emulator.server
