"""Counts of copies and runs: how many are expected, and how many there are."""

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

#: Seconds to wait for expected copies and runs; much longer than they take.
TIMEOUT_S = 60.0


class Attempt(NamedTuple):
    """One attempt of a task, which has one message."""

    id: str
    retries: int = 0


Attempts: TypeAlias = Counter[Attempt]


@dataclass
class DeliveryCounts:
    """The copies and runs of one broker.

    Attributes:
        monitor: The monitor queue, bound to a channel.
        journal: The file to which workers append `<id> <retries>` for each run.
        copies: The copies read from the monitor queue, without internal ones.
        internal_copies: The copies of Celery's own tasks, `celery.*`.
        early_copies: The ids of tasks with a copy that was read before its ETA.
        expected_copies: The copies that must be in `copies` in the end.
        expected_runs: The runs that must be in `runs` in the end.
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
        """The runs so far."""
        if not self.journal.exists():
            return Counter()
        lines = self.journal.read_text("utf-8").splitlines()
        fields = (line.split() for line in lines)
        return Counter(Attempt(id, int(retries)) for id, retries in fields)

    def expect(self, attempt: Attempt, *, copies: int = 1, runs: int = 1) -> None:
        """Expect an attempt to be copied and run so often."""
        self.expected_copies[attempt] += copies
        self.expected_runs[attempt] += runs

    def drain(self, *, until: Callable[[], object] = lambda: False) -> None:
        """Read copies from the monitor queue until it is empty or `until` is true."""
        while not until() and (message := self.monitor.get()) is not None:
            message.ack()
            headers: dict[str, Any] = message.headers
            eta = headers["eta"]
            if eta is not None and datetime.now(UTC) < datetime.fromisoformat(eta):
                self.early_copies.add(headers["id"])
            internal = headers["task"].startswith("celery.")
            copies = self.internal_copies if internal else self.copies
            copies[Attempt(headers["id"], headers["retries"])] += 1

    def wait_for_copies(self, *ids: str) -> None:
        """Wait until each of these tasks has a copy."""

        def missing() -> set[str]:
            return set(ids) - {attempt.id for attempt in self.copies}

        def check() -> bool:
            self.drain(until=lambda: not missing())
            assert not missing(), f"no copy of {missing()}"
            return True

        wait_until(check, timeout_s=TIMEOUT_S)

    def wait(self) -> None:
        """Wait until all expected runs and copies are there."""

        def check() -> bool:
            # Runs first: a read of an empty monitor queue is slow, and once the tasks
            # have run, the queue holds their copies.
            missing = self.expected_runs - self.runs
            assert not missing, f"missing runs: {dict(missing)}"
            self.drain(until=lambda: not self.expected_copies - self.copies)
            missing = self.expected_copies - self.copies
            assert not missing, f"missing copies: {dict(missing)}"
            return True

        wait_until(check, timeout_s=TIMEOUT_S)

    def check(self) -> None:
        """Check that the copies and runs are exactly the expected ones."""
        runs = self.runs

        assert dict(self.copies - self.expected_copies) == {}, "unexpected copies"
        assert dict(self.expected_copies - self.copies) == {}, "missing copies"
        assert dict(runs - self.expected_runs) == {}, "unexpected runs"
        assert dict(self.expected_runs - runs) == {}, "missing runs"

    def accept_current(self) -> None:
        """Expect what there is, so that one failed test does not fail the next ones."""
        self.expected_copies = self.copies.copy()
        self.expected_runs = self.runs


def workflow_ids(result: Any) -> set[str]:
    """Return the ids of all tasks of the workflow that a result belongs to."""
    ids: set[str] = set()
    while result is not None:
        if isinstance(result, GroupResult):
            ids.update(*map(workflow_ids, result.results or ()))
        else:
            ids.add(result.id)
        result = result.parent
    return ids
