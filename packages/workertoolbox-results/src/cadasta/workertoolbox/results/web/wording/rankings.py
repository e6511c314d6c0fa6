"""Which names of tasks are the slowest, fail most, and have changed most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cadasta.workertoolbox.results._number_text import Change, find_change
from cadasta.workertoolbox.results._store.figures.stats import (
    Stats,
    StatsRow,
    StatsTable,
)
from cadasta.workertoolbox.results.web.wording.formats import count, duration, share

#: Number of tasks from which a percentile is compared.
MIN_TASKS = 100

#: A number of tasks, or a share of failures, has changed if it differs by this many
#: standard deviations: chance explains smaller differences.
DEVIATIONS = 4.0

#: A percentile has changed if it is this many times longer or shorter, and differs by
#: this many seconds.
MIN_RATIO, MIN_DIFFERENCE_S = 1.25, 0.05

#: The largest ratio that counts, so that numbers before of almost zero are not first.
_MAX_RATIO = 100.0


@dataclass(frozen=True, slots=True)
class ChangedFigure:
    """A figure of a name that differs from the window before.

    Attributes:
        name: The name; None if it is not known.
        title: What the figure is.
        before: The figure of the window before, as text.
        now: That of the window.
        change: The change as text.
        is_worse: Whether it is bad news; None if it is neither good nor bad.
    """

    name: str | None
    title: str
    before: str
    now: str
    change: Change
    is_worse: bool | None


def slowest(table: StatsTable, limit: int) -> Sequence[StatsRow]:
    """Return the names with the longest run times, by their 95th percentile."""
    known = [row for row in table.rows if row.now.ran.p95_s is not None]
    return sorted(known, key=lambda row: -(row.now.ran.p95_s or 0.0))[:limit]


def most_failing(table: StatsTable, limit: int) -> Sequence[StatsRow]:
    """Return the names with most failures."""
    failing = [row for row in table.rows if row.now.failed]
    return sorted(failing, key=lambda row: -row.now.failed)[:limit]


def most_changed(table: StatsTable, limit: int) -> Sequence[ChangedFigure]:
    """Return the figures that have changed most, in proportion."""
    found = [each for row in table.rows for each in _changes(row)]
    found.sort(key=lambda each: -each[0])
    return [changed for _, changed in found[:limit]]


def _changes(row: StatsRow) -> Iterator[tuple[float, ChangedFigure]]:
    """Yield the changes of a name, with numbers by which they are sorted."""
    now, before = row.now, row.before
    if before is None:
        return
    if _differ(now.count, before.count):
        yield _change(row, "tasks", now.count, before.count, count)
    if _rates_differ(now, before):
        rates = now.failure_rate or 0.0, before.failure_rate or 0.0
        yield _change(row, "failed", *rates, share, more_is_worse=True)
    if min(now.count, before.count) < MIN_TASKS:
        return
    for title, new, old in (
        ("wait, p95", now.waited.p95_s, before.waited.p95_s),
        ("run time, p95", now.ran.p95_s, before.ran.p95_s),
    ):
        if new is not None and old is not None and _is_other(new, old):
            yield _change(row, title, new, old, duration, more_is_worse=True)


def _differ(now: int, before: int) -> bool:
    return abs(now - before) > DEVIATIONS * math.sqrt(now + before)


def _rates_differ(now: Stats, before: Stats) -> bool:
    if not now.count or not before.count:
        return False
    both = (now.failed + before.failed) / (now.count + before.count)
    spread = math.sqrt(both * (1 - both) * (1 / now.count + 1 / before.count))
    difference = now.failed / now.count - before.failed / before.count
    return abs(difference) > DEVIATIONS * spread


def _is_other(now: float, before: float) -> bool:
    shorter, longer = sorted((now, before))
    return longer >= shorter * MIN_RATIO and longer - shorter >= MIN_DIFFERENCE_S


def _change(
    row: StatsRow,
    title: str,
    now: float,
    before: float,
    write: Callable[[float], str] | Callable[[int], str],
    *,
    more_is_worse: bool | None = None,
) -> tuple[float, ChangedFigure]:
    change = find_change(now, before, least=0.0)
    assert change is not None
    ratio = max(now, before) / max(min(now, before), max(now, before) / _MAX_RATIO)
    is_worse = None if more_is_worse is None else change.is_more == more_is_worse
    texts = (write(before), write(now))  # type: ignore[arg-type]
    return ratio, ChangedFigure(row.value, title, *texts, change, is_worse)
