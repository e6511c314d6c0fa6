"""What the processes of a fleet have done, in one file for each kind of event.

The journal is independent of brokers and result backends: it tells what was lost.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

#: A task that was published; a run that began; an error that the caller got instead.
PUBLISHED = "published"
RUN = "run"
REFUSED = "refused"


class Event(NamedTuple):
    """An event of a task, or of a caller.

    Attributes:
        what: The id of the task, or the name of the error.
        at_s: When, in seconds since 1970.
    """

    what: str
    at_s: float


def record(folder: Path, kind: str, what: str) -> None:
    """Append an event to its file."""
    # One call of `write` with O_APPEND, so that processes do not mix their lines.
    file = os.open(folder / kind, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{what} {time.time()}\n".encode())
    finally:
        os.close(file)


class Reader:
    """Reads the events of one kind, each once.

    Args:
        file: Where processes record them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_bytes = 0

    def new(self) -> list[Event]:
        """Return the events since the last call."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(end)
        pairs = (line.split() for line in whole.decode().splitlines())
        return [Event(what, float(at_s)) for what, at_s in pairs]


def read(folder: Path, kind: str) -> list[Event]:
    """Return all events of one kind."""
    return Reader(folder / kind).new()
