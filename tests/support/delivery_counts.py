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

from support.polling import wait_until

#: Seconds until what is expected has to be there; much more than it takes.
TIMEOUT_S = 60.0


class Attempt(NamedTuple):
    """One run of a task, and so one message."""

    id: str
    retries: int = 0


Attempts: TypeAlias = Counter[Attempt]


@dataclass
class DeliveryCounts:
    """The books of one broker.

    Attributes:
        monitor: The monitor queue, bound to a channel.
        journal: The file where the workers add `<id> <retries>` for each run.
        copies: The copies taken out of the monitor queue.
        internal_copies: The same of Celery's own tasks, `celery.*`.
        early_copies: The ids of tasks with a copy taken out before they were due.
        expected_copies: The copies that there have to be.
        expected_runs: The runs that there have to be.
    """

    monitor: Queue
    journal: Path
    copies: Attempts = field(default_factory=Counter)
    internal_copies: Attempts = field(default_factory=Counter)
    early_copies: set[str] = field(default_factory=set)
    expected_copies: Attempts = field(default_factory=Counter)
    expected_runs: Attempts = field(default_factory=Counter)

    @property
    def runs(self) -> Attempts:
        """The runs up to now."""
        if not self.journal.exists():
            return Counter()
        lines = self.journal.read_text("utf-8").splitlines()
        fields = (line.split() for line in lines)
        return Counter(Attempt(id, int(retries)) for id, retries in fields)

    def expect(self, attempt: Attempt, *, copies: int = 1, runs: int = 1) -> None:
        """Enter an attempt, and how often it is to be copied and run."""
        self.expected_copies[attempt] += copies
        self.expected_runs[attempt] += runs

    def drain(self, *, until: Callable[[], object] = lambda: False) -> None:
        """Take copies out of the monitor queue, until it is empty or enough are out."""
        while not until() and (message := self.monitor.get()) is not None:
            message.ack()
            headers: dict[str, Any] = message.headers
            eta = headers["eta"]
            if eta is not None and datetime.now(UTC) < datetime.fromisoformat(eta):
                self.early_copies.add(headers["id"])
            internal = headers["task"].startswith("celery.")
            books = self.internal_copies if internal else self.copies
            books[Attempt(headers["id"], headers["retries"])] += 1

    def wait_for_copies(self, *ids: str) -> None:
        """Wait until each of these tasks has a copy."""

        def missing() -> set[str]:
            return set(ids) - {attempt.id for attempt in self.copies}

        def look() -> bool:
            self.drain(until=lambda: not missing())
            assert not missing(), f"without a copy of {missing()}"
            return True

        wait_until(look, timeout_s=TIMEOUT_S)

    def wait(self) -> None:
        """Wait until no run and no copy is missing that is expected."""

        def look() -> bool:
            # The runs first: by then the copies are there, and none is waited for.
            missing = self.expected_runs - self.runs
            assert not missing, f"without a run of {dict(missing)}"
            self.drain(until=lambda: not self.expected_copies - self.copies)
            missing = self.expected_copies - self.copies
            assert not missing, f"without a copy of {dict(missing)}"
            return True

        wait_until(look, timeout_s=TIMEOUT_S)

    def check(self) -> None:
        """Compare the books: nothing is missing, and nothing too many."""
        run = self.runs

        assert dict(self.copies - self.expected_copies) == {}, "copied too often"
        assert dict(self.expected_copies - self.copies) == {}, "copied too seldom"
        assert dict(run - self.expected_runs) == {}, "run too often"
        assert dict(self.expected_runs - run) == {}, "run too seldom"

    def accept_current(self) -> None:
        """Take the books for balanced, so that what failed once fails no more."""
        self.expected_copies = self.copies.copy()
        self.expected_runs = self.runs


def workflow_ids(result: Any) -> set[str]:
    """Return the ids of all tasks of the workflow that a result stands for."""
    ids: set[str] = set()
    while result is not None:
        if isinstance(result, GroupResult):
            ids.update(*map(workflow_ids, result.results or ()))
        else:
            ids.add(result.id)
        result = result.parent
    return ids
