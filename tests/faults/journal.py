"""Files in which the processes of a fleet write down what they do, line by line."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

#: The variable with the folder that the files are in.
FOLDER = "FAULTS_JOURNAL_FOLDER"


class Entry(NamedTuple):
    """A message with a task, or the run that it leads to."""

    id: str
    replaced: int
    retries: int
    queue: str


class Journal:
    """The files of one fleet.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, event: str, entry: Entry) -> None:
        """Add a line to `attempted`, `published`, `delivered` or `executed`."""
        self._append(event, " ".join(map(str, entry)))

    def announce(self, id: str) -> None:
        """Add a task of a workflow whose first tasks have been published."""
        self._append("announced", id)

    def set_limit(self, count: int) -> None:
        """Say how many messages there may be until further notice."""
        part = self._folder / "limit.part"
        part.write_text(str(count), "utf-8")
        part.replace(self._folder / "limit")

    @property
    def limit(self) -> int:
        """How many messages there may be by now."""
        file = self._folder / "limit"
        return int(file.read_text("utf-8")) if file.exists() else 0

    def _append(self, event: str, line: str) -> None:
        # One write at the end of the file: lines of many processes stay whole.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self._folder / event, flags)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    @property
    def attempted(self) -> Counter[Entry]:
        """What was about to be published."""
        return self._entries("attempted")

    @property
    def published(self) -> Counter[Entry]:
        """What was published, as the client saw it."""
        return self._entries("published")

    @property
    def delivered(self) -> Counter[Entry]:
        """What workers got from the broker."""
        return self._entries("delivered")

    @property
    def executed(self) -> Counter[Entry]:
        """What workers began to run."""
        return self._entries("executed")

    @property
    def announced(self) -> set[str]:
        """The ids of the tasks of all workflows that went out."""
        return set(self._lines("announced"))

    def _entries(self, event: str) -> Counter[Entry]:
        fields = (line.split() for line in self._lines(event))
        return Counter(Entry(i, int(n), int(r), q) for i, n, r, q in fields)

    def _lines(self, event: str) -> list[str]:
        file = self._folder / event
        return file.read_text("utf-8").splitlines() if file.exists() else []

    def count_runs(self) -> int:
        """Return how many runs have begun up to now."""
        return len(self._lines("executed"))
