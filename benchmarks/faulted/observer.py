"""Watches a fleet: when each result appears, and what its database writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from faulted.fleets import Fleet
from faulted.journal import PUBLISHED, Reader

#: Seconds between two looks.
INTERVAL_S = 0.2

#: The oldest tasks without a result that one look asks for.
ASKED = 2000

#: The position in the write-ahead log, and versions of rows that are dead by now. The
#: second one begins again at zero after a crash.
COUNTERS = """
SELECT pg_current_wal_lsn() - '0/0'::pg_lsn,
    coalesce(sum(n_tup_upd + n_tup_del), 0)
FROM pg_stat_user_tables
"""


@dataclass
class Observation:
    """What was seen of a fleet.

    Attributes:
        published_s: When each task was published, in seconds since 1970, by its id.
        finished_s: When its result appeared.
        wal_bytes: Bytes of write-ahead log that the database has written.
        dead_rows: Versions of rows that were replaced or deleted.
        changed_s: When the last result appeared.
    """

    published_s: dict[str, float] = field(default_factory=dict)
    finished_s: dict[str, float] = field(default_factory=dict)
    wal_bytes: float = 0
    dead_rows: float = 0
    changed_s: float = 0

    @property
    def waiting(self) -> int:
        """The number of tasks without a result."""
        return len(self.published_s) - len(self.finished_s)

    @property
    def open(self) -> list[str]:
        """The tasks without a result, the oldest first."""
        return [id for id in self.published_s if id not in self.finished_s]


class Observer:
    """Looks at a fleet again and again.

    Attributes:
        seen: What it has seen so far.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.seen = Observation(changed_s=time.time())
        self._fleet = fleet
        self._published = Reader(fleet.folder / PUBLISHED)
        self._open: dict[str, None] = {}
        self._counters: tuple[float, float] | None = None

    @contextmanager
    def running(self) -> Iterator[Observation]:
        """Look until the block ends, and once more."""
        stopping = Event()
        thread = Thread(target=self._run, args=(stopping,))
        thread.start()
        try:
            yield self.seen
        finally:
            stopping.set()
            thread.join()
        self._look()

    def _run(self, stopping: Event) -> None:
        while not stopping.wait(INTERVAL_S):
            # The fault also concerns who looks: the next look finds what this missed.
            with suppress(DBAPIError):
                self._look()

    def _look(self) -> None:
        for event in self._published.new():
            self.seen.published_s[event.what] = event.at_s
            self._open[event.what] = None
        if asked := list(self._open)[:ASKED]:
            found = self._fleet.find_finished(asked)
            now_s = time.time()
            for id in found:
                self.seen.finished_s[id] = now_s
                del self._open[id]
            if found:
                self.seen.changed_s = now_s
        self._count()

    def _count(self) -> None:
        if self._fleet.database is None:
            return
        with self._fleet.database.engine.connect() as connection:
            wal, dead = map(float, connection.execute(text(COUNTERS)).one())
        if self._counters is not None:
            self.seen.wal_bytes += wal - self._counters[0]
            before = self._counters[1]
            self.seen.dead_rows += dead - before if dead >= before else dead
        self._counters = wal, dead
