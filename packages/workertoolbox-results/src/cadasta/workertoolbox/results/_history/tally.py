"""Contributions of tasks to the figures, and sums of contributions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from celery import states

from cadasta.workertoolbox.results._history.histogram import Histogram

EMPTY = Histogram()

#: Errors that malformed columns raise.
UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError)


class Contribution(NamedTuple):
    """The contribution of an ended task, or of a failed attempt that was retried.

    Attributes:
        name: Name of the task; empty if it is not known.
        queue: Its queue; empty if it is not known.
        status: The status with which the task ended, or `RETRY` for an attempt.
        finished_at: When the task or the attempt ended.
        retries: How often the task was retried. An attempt counts as one retry, and
            not as a task.
        redeliveries: Number of runs that were lost, or were duplicates.
        waited_s: Seconds from when the task could run to its start.
        ran_s: Seconds from its start to its end.
        took_s: Seconds from its first publication to its end, if a worker has run it.
        error_group: Group of its error; empty without one.
    """

    name: str
    queue: str
    status: str
    finished_at: datetime
    retries: int = 0
    redeliveries: int = 0
    waited_s: float | None = None
    ran_s: float | None = None
    took_s: float | None = None
    error_group: str = ""


class Columns(NamedTuple):
    """The last columns of a row of `workertoolbox_rollup`.

    Attributes:
        tasks: The column `count`.
        waits: The text of a histogram.
        runs: The text of a histogram.
        totals: The text of a histogram.
    """

    tasks: int
    retries: int
    redeliveries: int
    waits: str
    runs: str
    totals: str


#: The columns of a row that counts nothing.
NOTHING = Columns(0, 0, 0, "", "", "")


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum of contributions.

    Attributes:
        count: Number of tasks.
        retries: Number of their retries, or of attempts with the status `RETRY`.
        redeliveries: Number of their runs that were lost or duplicates.
        waits: Seconds that they waited.
        runs: Seconds that they ran.
        totals: Seconds that they took from their publication to their end.
    """

    count: int = 0
    retries: int = 0
    redeliveries: int = 0
    waits: Histogram = EMPTY
    runs: Histogram = EMPTY
    totals: Histogram = EMPTY

    @classmethod
    def of(cls, contributions: Iterable[Contribution]) -> Tally:
        """Return the sum of contributions with the same status."""
        all = list(contributions)
        if all and all[0].status == states.RETRY:
            return cls(retries=len(all))
        return cls(
            len(all),
            sum([each.retries for each in all]),
            sum([each.redeliveries for each in all]),
            Histogram.of([each.waited_s for each in all if each.waited_s is not None]),
            Histogram.of([each.ran_s for each in all if each.ran_s is not None]),
            Histogram.of([each.took_s for each in all if each.took_s is not None]),
        )

    @classmethod
    def merge(cls, tallies: Sequence[Tally]) -> Tally:
        """Return the sum of tallies."""
        if len(tallies) == 1:
            return tallies[0]
        return cls(
            sum(each.count for each in tallies),
            sum(each.retries for each in tallies),
            sum(each.redeliveries for each in tallies),
            Histogram.merge(each.waits for each in tallies),
            Histogram.merge(each.runs for each in tallies),
            Histogram.merge(each.totals for each in tallies),
        )

    def __sub__(self, other: Tally) -> Tally:
        """Return the tally without another; no number falls below zero."""
        return Tally(
            max(self.count - other.count, 0),
            max(self.retries - other.retries, 0),
            max(self.redeliveries - other.redeliveries, 0),
            self.waits - other.waits,
            self.runs - other.runs,
            self.totals - other.totals,
        )

    @classmethod
    def from_columns(cls, *rows: Columns) -> Tally:
        """Return the sum of the tallies of rows."""
        return cls(
            sum([each.tasks for each in rows]),
            sum([each.retries for each in rows]),
            sum([each.redeliveries for each in rows]),
            Histogram.from_text(*[each.waits for each in rows]),
            Histogram.from_text(*[each.runs for each in rows]),
            Histogram.from_text(*[each.totals for each in rows]),
        )

    def columns(self) -> Columns:
        """Return the columns of a row with this tally."""
        return self.added_to(NOTHING)

    def added_to(self, columns: Columns) -> Columns:
        """Return the columns of a row to which this tally is added."""
        return Columns(
            columns.tasks + self.count,
            columns.retries + self.retries,
            columns.redeliveries + self.redeliveries,
            self.waits.add_to_text(columns.waits),
            self.runs.add_to_text(columns.runs),
            self.totals.add_to_text(columns.totals),
        )
