"""How the memory of a monitor grows over a million messages.

Each message has its own id, and rare names of tasks and arguments, so that everything
that the monitor remembers of messages shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from cadasta.workertoolbox.results import upgrade
from ingest import Fleet
from measuring.figures import Row
from servers import postgresql, rabbitmq
from support.polling import wait_until
from support.processes import Process

#: Messages in total, and between two measurements.
MESSAGES = 1_000_000
INTERVAL = 100_000

#: Names of tasks, and names of arguments of each task.
NAMES = 20_000

#: The bound: memory after the last message, as a multiple of the memory after the first
#: two intervals, in which libraries load their modules.
BOUND = 1.05


def measure() -> Iterator[Row]:
    """Yield the memory at each measurement, and at last its growth."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.serve(Path(folder)) as broker,
        postgresql.serve(lambda url: None) as databases,
        broker.access() as access,
        databases.database() as database,
    ):
        upgrade(database)
        fleet = Fleet(Path(folder), access, database)
        taken: list[int] = []
        with fleet.monitor() as monitor:
            for number in range(INTERVAL, MESSAGES + 1, INTERVAL):
                taken.append(_after(fleet, monitor, number))
                yield {
                    "messages": f"{number:,}",
                    "memory": f"{taken[-1] / 1024:.1f} MiB",
                    "times that of the second line": f"{taken[-1] / taken[1]:.3f}"
                    if len(taken) > 1
                    else "",
                }


def _after(fleet: Fleet, monitor: Process, number: int) -> int:
    """Publish up to a number of messages; return the monitor's memory in KiB."""
    for each in range(number - INTERVAL, number):
        name = each % NAMES
        fleet.app.send_task(
            f"export.project_{name}", [each, "x" * (each % 500)], {f"key_{name}": each}
        )
    fleet.purge("export")
    wait_until(lambda: fleet.stored == number, timeout_s=600)
    return _resident_kib(monitor.pid)


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [line] = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1])
