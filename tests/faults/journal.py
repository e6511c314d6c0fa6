"""The journal of a fleet: one file per event, to which its processes append lines."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

#: The variable with the folder of the files.
FOLDER = "FAULTS_JOURNAL_FOLDER"


class Entry(NamedTuple):
    """A message of a task, or the run that the message starts."""

    id: str
    replaced: int
    retries: int
    queue: str


class Journal:
    """The journal of one fleet.

    Args:
        folder: The folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, event: str, entry: Entry) -> None:
        """Record `attempted`, `published`, `delivered` or `executed`."""
        self._append(event, " ".join(map(str, entry)))

    def announce(self, id: str) -> None:
        """Record a task of a workflow whose first tasks have been published."""
        self._append("announced", id)

    def set_limit(self, count: int) -> None:
        """Set how many messages the producers may publish in total."""
        part = self._folder / "limit.part"
        part.write_text(str(count), "utf-8")
        part.replace(self._folder / "limit")

    @property
    def limit(self) -> int:
        """How many messages the producers may publish in total."""
        file = self._folder / "limit"
        return int(file.read_text("utf-8")) if file.exists() else 0

    def _append(self, event: str, line: str) -> None:
        # One call of `write` with O_APPEND, so that processes do not mix their lines.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self._folder / event, flags)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    @property
    def attempted(self) -> Counter[Entry]:
        """The messages that a client began to publish."""
        return self._entries("attempted")

    @property
    def published(self) -> Counter[Entry]:
        """The messages that a client published without an error."""
        return self._entries("published")

    @property
    def delivered(self) -> Counter[Entry]:
        """The messages that workers received from the broker."""
        return self._entries("delivered")

    @property
    def executed(self) -> Counter[Entry]:
        """The runs that workers started."""
        return self._entries("executed")

    @property
    def announced(self) -> set[str]:
        """The ids of the tasks of all published workflows."""
        return set(self._lines("announced"))

    def _entries(self, event: str) -> Counter[Entry]:
        fields = (line.split() for line in self._lines(event))
        return Counter(Entry(i, int(n), int(r), q) for i, n, r, q in fields)

    def _lines(self, event: str) -> list[str]:
        file = self._folder / event
        return file.read_text("utf-8").splitlines() if file.exists() else []

    def count_runs(self) -> int:
        """Return how many runs have started so far."""
        return len(self._lines("executed"))
