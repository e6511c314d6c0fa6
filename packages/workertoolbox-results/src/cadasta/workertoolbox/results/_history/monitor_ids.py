"""Identifiers of monitors, from which people know the process."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple
from uuid import uuid4

#: Characters of the random part. Process ids repeat: each container has a process 1.
_RANDOM_LENGTH = 12


class MonitorProcess(NamedTuple):
    """The host and the process id of a monitor."""

    host: str
    pid: int


def new_monitor_id() -> str:
    """Return an identifier for a monitor in this process, `<pid>@<host>-<random>`."""
    random = uuid4().hex[:_RANDOM_LENGTH]
    return f"{os.getpid()}@{socket.gethostname()}-{random}"


def find_process(monitor_id: str) -> MonitorProcess | None:
    """Return the process of a monitor; None if its id, of an old release, is random."""
    pid, separator, rest = monitor_id.partition("@")
    host = rest.rpartition("-")[0]
    if not (separator and host and pid.isascii() and pid.isdigit()):
        return None
    return MonitorProcess(host, int(pid))
