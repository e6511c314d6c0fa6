"""Amazon SQS as moto emulates it; each test gets a prefix for its queues."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import running
from servers.access import Access
from servers.missing import missing
from servers.ports import HOST, free_ports, is_listening


@dataclass(frozen=True)
class SQS:
    """The emulator.

    Attributes:
        url: The broker URL; its credentials are any, as the emulator checks none.
    """

    url: str

    @contextmanager
    def access(self) -> Iterator[Access]:
        """Give a prefix of queue names away; the queues go with the emulator."""
        yield Access(
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


@contextmanager
def serve(folder: Path) -> Iterator[SQS]:
    """Run the emulator."""
    if importlib.util.find_spec("moto") is None:
        missing("SQS", "moto[server] is not installed")
    [port] = free_ports(1)
    with running(
        [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
        folder=folder,
        name="moto",
        ready=lambda: is_listening(port),
        shown=False,
    ):
        yield SQS(f"sqs://testing:testing@{HOST}:{port}/")
