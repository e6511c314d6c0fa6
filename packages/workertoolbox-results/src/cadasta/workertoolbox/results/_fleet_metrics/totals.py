"""Counters of the tasks that have ended since the start of this process.

The figures in the database may decrease: they are subtracted if a task ends again, and
names move between those with a label and the others. A counter of Prometheus must not,
so it adds up what the figures have increased by.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from celery import states

from cadasta.workertoolbox.results._database.statuses import STATUSES
from cadasta.workertoolbox.results._history.tally import NOTHING, Columns, Tally
from cadasta.workertoolbox.results._safe_text import log_text
from cadasta.workertoolbox.results._store.fleet.fleet_figures import EndedKey
from cadasta.workertoolbox.results._task import INTERNAL

_logger = logging.getLogger(__name__)

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
        self._has_logged = False

    def update(self, rows: Mapping[EndedKey, Columns]) -> None:
        """Add what rows have increased by since the last call.

        The first call adds nothing. A label appears with 0, if possible before the
        first task with it ends, because Prometheus cannot see an increase otherwise.
        A malformed row adds nothing; the first one is logged.
        """
        rows = {
            key: columns
            for key, columns in rows.items()
            if self._has_numbers(key, columns)
        }
        known = rows if self._known is None else self._known
        names = largest(_count(rows, "name"))
        queues = largest(_count(rows, "queue"))
        self._forget_others(names, queues)
        for key, columns in rows.items():
            before = known.get(key, NOTHING)
            self._add(key, self._increase(key, columns, before), names, queues)
        self._known = rows

    def _has_numbers(self, key: EndedKey, columns: Columns) -> bool:
        """Return whether a row has numbers: SQLite stores any value in any column."""
        if all(isinstance(each, int) for each in columns[:3]):
            return True
        self._log(key, "its numbers are not integers")
        return False

    def _increase(self, key: EndedKey, columns: Columns, before: Columns) -> Tally:
        if columns == before:
            return Tally()
        try:
            return Tally.from_columns(columns) - Tally.from_columns(before)
        except (AttributeError, TypeError, ValueError) as error:
            self._log(key, str(error))
            return Tally()

    def _log(self, key: EndedKey, reason: str) -> None:
        if not self._has_logged:
            _logger.warning(
                "metrics leave out malformed rows of workertoolbox_rollup, such as "
                "that of %s at %s: %s",
                *(log_text(key.name), key.at, reason),
            )
        self._has_logged = True

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
