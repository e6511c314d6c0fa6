"""What the pages about the fleet ask the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

from starlette.datastructures import QueryParams

from cadasta.workertoolbox.results._database.types import FIRST
from cadasta.workertoolbox.results._store.figures.queues import QueueBacklog
from cadasta.workertoolbox.results._store.figures.rollup_sums import FAILED
from cadasta.workertoolbox.results._store.figures.rollups import BacklogSample
from cadasta.workertoolbox.results._store.fleet.routes import Route
from cadasta.workertoolbox.results._store.fleet.workers import Worker
from cadasta.workertoolbox.results._store.schedules.entries import Schedule
from cadasta.workertoolbox.results._store.schedules.runs import ScheduledRun
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.upkeep.health import Health
from cadasta.workertoolbox.results.web.window import Window, read_window

#: The window of the small charts of queues, and the time of each bar.
CHARTED, STEP = timedelta(hours=3), timedelta(minutes=9)

#: Maximum number of entries whose runs are read.
MAX_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Queues:
    """What waits in the queues, and has waited.

    Attributes:
        backlog: What waits and runs in each queue, most tasks first.
        samples: What waited in the last hours.
    """

    backlog: Sequence[QueueBacklog]
    samples: Sequence[BacklogSample]


@dataclass(frozen=True, slots=True)
class QueuesQuestion:
    """What waits in the queues?"""

    def answer(self, store: TaskStore) -> Queues:
        """Ask the database."""
        since = datetime.now(UTC) - CHARTED
        return Queues(store.backlog(), store.backlog_samples(since=since, step=STEP))


@dataclass(frozen=True, slots=True)
class _SinceQuestion:
    """A question about the time since an instant.

    Attributes:
        since: The instant as in the URL of the page.
        zone: The time zone of a time without an offset.
    """

    since: str
    zone: tzinfo

    @classmethod
    def of(cls, window: Window, zone: tzinfo) -> Self:
        """Return the question about a window; viewers of any zone ask the same one."""
        return cls(window.since_text, UTC if window.is_fixed else zone)

    def start(self) -> datetime:
        """Return the instant; the first one that there is for all time."""
        params = QueryParams({"since": self.since})
        return read_window(params, default="", zone=self.zone).since or FIRST


@dataclass(frozen=True, slots=True)
class WorkersQuestion(_SinceQuestion):
    """Which workers were seen since an instant?"""

    def answer(self, store: TaskStore) -> Sequence[Worker]:
        """Ask the database."""
        return store.workers(since=self.start())


@dataclass(frozen=True, slots=True)
class ServicesQuestion(_SinceQuestion):
    """Who has sent which task since an instant, and who runs it?"""

    def answer(self, store: TaskStore) -> Sequence[Route]:
        """Ask the database."""
        return store.services(since=self.start())


@dataclass(frozen=True, slots=True)
class Schedules:
    """The entries of beat's schedule.

    Attributes:
        entries: All of them.
        runs: The latest runs of those that are shown.
    """

    entries: Sequence[Schedule]
    runs: Sequence[tuple[Schedule, Sequence[ScheduledRun]]]


#: Which entries a page may show, with their titles.
CHOICES = {
    "": "all",
    "overdue": "overdue",
    "failed": "last run failed",
    "removed": "removed",
}


@dataclass(frozen=True, slots=True)
class SchedulesQuestion:
    """What does beat send?

    Attributes:
        chosen: A key of `CHOICES`.
    """

    chosen: str

    def answer(self, store: TaskStore) -> Schedules:
        """Ask the database."""
        entries = store.schedules(removed=True)
        shown = [each for each in entries if is_chosen(each, self.chosen)]
        shown = shown[:MAX_ENTRIES]
        runs = store.schedule_runs(shown)
        return Schedules(entries, [*zip(shown, runs, strict=True)])


def is_chosen(entry: Schedule, chosen: str) -> bool:
    """Return whether an entry is one of those with a key of `CHOICES`."""
    if chosen == "removed" or entry.removed:
        return chosen == "removed" and entry.removed
    if chosen == "overdue":
        return entry.overdue
    has_failed = entry.last is not None and entry.last.status in FAILED
    return has_failed if chosen == "failed" else True


@dataclass(frozen=True, slots=True)
class HealthQuestion:
    """What is the state of the database?"""

    def answer(self, store: TaskStore) -> Health:
        """Ask the database."""
        return store.health()
