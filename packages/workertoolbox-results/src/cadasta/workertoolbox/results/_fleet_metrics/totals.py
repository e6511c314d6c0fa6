"""Counters of the tasks that have ended since the start of this process.

The figures in the database may decrease: they are subtracted if a task ends again, and
names move between those with a label and the others. A counter of Prometheus must not,
so it adds up what the figures have increased by.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from celery import states

from cadasta.workertoolbox.results._database.statuses import STATUSES
from cadasta.workertoolbox.results._history.tally import NOTHING, Columns, Tally
from cadasta.workertoolbox.results._store.fleet_figures import EndedKey
from cadasta.workertoolbox.results._task import INTERNAL

#: Maximum number of names, and of queues, with a label of their own.
MAX_LABELS = 50

#: The label of all others, of unknown names and queues, and of custom states.
OTHER = "other"


def largest(counts: Counter[str]) -> Collection[str]:
    """Return the values that have a label of their own: those with most tasks."""
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    return {value for value in ranked if value}.intersection(ranked[:MAX_LABELS])


class EndedTotals:
    """Numbers of tasks that ended, and histograms of their waits and run times.

    Attributes:
        ended: Number of tasks by name and status.
        failed_attempts: Number of attempts that failed and were retried, by name.
        queues: Number of tasks by queue, with Celery's own tasks.
        waits: Numbers of waits in each bucket of `Histogram`, by name.
        runs: The same for run times.
    """

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self.failed_attempts: Counter[str] = Counter()
        self.queues: Counter[str] = Counter()
        self.waits: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.runs: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._known: Mapping[EndedKey, Columns] | None = None

    def update(self, rows: Mapping[EndedKey, Columns]) -> None:
        """Add what rows have increased by since the last call.

        The first call adds nothing. A label appears with 0, if possible before the
        first task with it ends, because Prometheus cannot see an increase otherwise.
        """
        known = rows if self._known is None else self._known
        names = largest(_count(rows, "name"))
        queues = largest(_count(rows, "queue"))
        self._forget_others(names, queues)
        for key, columns in rows.items():
            before = known.get(key, NOTHING)
            change = None
            if columns != before:
                change = Tally.from_columns(columns) - Tally.from_columns(before)
            self._add(key, change or Tally(), names, queues)
        self._known = rows

    def _add(
        self,
        key: EndedKey,
        change: Tally,
        names: Collection[str],
        queues: Collection[str],
    ) -> None:
        self.queues[key.queue if key.queue in queues else OTHER] += change.count
        if key.name.startswith(INTERNAL):
            return
        name = key.name if key.name in names else OTHER
        retried = change.retries if key.status == states.RETRY else 0
        self.failed_attempts[name] += retried
        for usual in (states.SUCCESS, states.FAILURE):
            self.ended[name, usual] += 0
        if key.status != states.RETRY:
            status = key.status if key.status in STATUSES else OTHER
            self.ended[name, status] += change.count
        self.waits[name].update(change.waits.buckets)
        self.runs[name].update(change.runs.buckets)

    def _forget_others(self, names: Collection[str], queues: Collection[str]) -> None:
        """Forget labels that are not used any more, so that their number is limited.

        A label that returns begins at 0, as after a restart.
        """
        for counts in (self.failed_attempts, self.waits, self.runs):
            for name in {*counts} - {*names, OTHER}:
                del counts[name]
        for name, status in [*self.ended]:
            if name not in names and name != OTHER:
                del self.ended[name, status]
        for queue in {*self.queues} - {*queues, OTHER}:
            del self.queues[queue]


def _count(rows: Mapping[EndedKey, Columns], column: str) -> Counter[str]:
    """Return the number of tasks, and of failed attempts, by a column of the key."""
    counts: Counter[str] = Counter()
    for key, columns in rows.items():
        if column == "queue" or not key.name.startswith(INTERNAL):
            counts[getattr(key, column)] += columns.tasks or columns.retries
    return counts
