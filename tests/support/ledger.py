"""What was published, copied and run, counted one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from celery.result import GroupResult
from kombu import Queue

from support.polling import eventually

#: Seconds until what is expected has to be there; much more than it takes.
TIMEOUT_S = 60.0


class Attempt(NamedTuple):
    """One run of a task, and so one message."""

    id: str
    retries: int = 0


Attempts: TypeAlias = Counter[Attempt]


@dataclass
class Ledger:
    """The books of one broker.

    Attributes:
        monitor: The monitor queue, bound to a channel.
        journal: The file where the workers add `<id> <retries>` for each run.
        copied: The copies taken out of the monitor queue.
        copied_internal: The same of Celery's own tasks, `celery.*`.
        copied_early: The ids of tasks with a copy taken out before they were due.
        to_copy: The copies that there have to be.
        to_run: The runs that there have to be.
    """

    monitor: Queue
    journal: Path
    copied: Attempts = field(default_factory=Counter)
    copied_internal: Attempts = field(default_factory=Counter)
    copied_early: set[str] = field(default_factory=set)
    to_copy: Attempts = field(default_factory=Counter)
    to_run: Attempts = field(default_factory=Counter)

    @property
    def run(self) -> Attempts:
        """The runs up to now."""
        if not self.journal.exists():
            return Counter()
        lines = self.journal.read_text("utf-8").splitlines()
        fields = (line.split() for line in lines)
        return Counter(Attempt(id, int(retries)) for id, retries in fields)

    def expect(self, attempt: Attempt, *, copies: int = 1, runs: int = 1) -> None:
        """Enter an attempt, and how often it is to be copied and run."""
        self.to_copy[attempt] += copies
        self.to_run[attempt] += runs

    def drain(self, *, until: Callable[[], object] = lambda: False) -> None:
        """Take copies out of the monitor queue, until it is empty or enough are out."""
        while not until() and (message := self.monitor.get()) is not None:
            message.ack()
            headers: dict[str, Any] = message.headers
            eta = headers["eta"]
            if eta is not None and datetime.now(UTC) < datetime.fromisoformat(eta):
                self.copied_early.add(headers["id"])
            internal = headers["task"].startswith("celery.")
            books = self.copied_internal if internal else self.copied
            books[Attempt(headers["id"], headers["retries"])] += 1

    def wait_for_copies(self, *ids: str) -> None:
        """Wait until each of these tasks has a copy."""

        def missing() -> set[str]:
            return set(ids) - {attempt.id for attempt in self.copied}

        def look() -> bool:
            self.drain(until=lambda: not missing())
            assert not missing(), f"without a copy of {missing()}"
            return True

        eventually(look, timeout_s=TIMEOUT_S)

    def wait(self) -> None:
        """Wait until no run and no copy is missing that is expected."""

        def look() -> bool:
            # The runs first: by then the copies are there, and none is waited for.
            missing = self.to_run - self.run
            assert not missing, f"without a run of {dict(missing)}"
            self.drain(until=lambda: not self.to_copy - self.copied)
            missing = self.to_copy - self.copied
            assert not missing, f"without a copy of {dict(missing)}"
            return True

        eventually(look, timeout_s=TIMEOUT_S)

    def check(self) -> None:
        """Compare the books: nothing is missing, and nothing too many."""
        run = self.run

        assert dict(self.copied - self.to_copy) == {}, "copied too often"
        assert dict(self.to_copy - self.copied) == {}, "copied too seldom"
        assert dict(run - self.to_run) == {}, "run too often"
        assert dict(self.to_run - run) == {}, "run too seldom"

    def write_off(self) -> None:
        """Take the books for balanced, so that what failed once fails no more."""
        self.to_copy = self.copied.copy()
        self.to_run = self.run


def ids_of(result: Any) -> set[str]:
    """Return the ids of all tasks of the workflow that a result stands for."""
    ids: set[str] = set()
    while result is not None:
        if isinstance(result, GroupResult):
            ids.update(*map(ids_of, result.results or ()))
        else:
            ids.add(result.id)
        result = result.parent
    return ids
