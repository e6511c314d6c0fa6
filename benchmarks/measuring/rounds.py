"""Different ways to do the same work, measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from measuring.figures import Row, compared


@dataclass(frozen=True)
class Rounds:
    """The times of several rounds.

    Attributes:
        seconds: By way, the seconds per item in each round, in order.
    """

    seconds: dict[str, list[float]]

    def median_s(self, way: str) -> float:
        """Return the median of the seconds per item."""
        return statistics.median(self.seconds[way])

    def percentile_95_s(self, way: str) -> float:
        """Return the seconds per item that 95 % of the rounds did not exceed."""
        return statistics.quantiles(self.seconds[way], n=20, method="inclusive")[-1]

    def ratio(self, way: str, other: str) -> float:
        """Return the median over the rounds of the ratio of two ways' times."""
        pairs = zip(self.seconds[way], self.seconds[other], strict=True)
        return statistics.median(one / another for one, another in pairs)


@dataclass(frozen=True)
class Comparison(Rounds):
    """The times of several rounds of two ways, `ours` and `theirs`."""

    def row(self, title: str, other: str) -> Row:
        """Return what was compared, and with what, as a row of a table."""
        ours, theirs = (self.median_s(way) * 1e6 for way in ("ours", "theirs"))
        ratio = f"{self.ratio('ours', 'theirs'):.2f} × the time"
        return compared(title, f"{ours:,.0f} µs", f"{other} {theirs:,.0f} µs", ratio)


def alternate(ways: Mapping[str, Callable[[], float]], *, rounds: int = 7) -> Rounds:
    """Run all ways in each round, in the opposite order of the previous round.

    Args:
        ways: Each does its work and returns the seconds per item.
        rounds: The number of rounds, after one that is not counted.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    for number in range(rounds + 1):
        order.reverse()
        for way in order:
            taken_s = ways[way]()
            if number:
                seconds[way].append(taken_s)
    return Rounds(seconds)


def timed(work: Callable[[int], object], items: int) -> float:
    """Do the work for a number of items and return the seconds per item."""
    start = time.perf_counter()
    work(items)
    return (time.perf_counter() - start) / items


def compare(
    *,
    ours: Callable[[int], object],
    theirs: Callable[[int], object],
    items: int,
    rounds: int = 7,
    before: Callable[[], object] = lambda: None,
) -> Comparison:
    """Compare two ways of doing the same work.

    Args:
        ours: Does the work for a number of items.
        theirs: Does the same in the other way.
        items: The number of items in a round.
        rounds: The number of rounds, after one that is not counted.
        before: Called before each measurement, and not counted.
    """

    def prepared(work: Callable[[int], object]) -> float:
        before()
        return timed(work, items)

    ways = {"ours": lambda: prepared(ours), "theirs": lambda: prepared(theirs)}
    return Comparison(alternate(ways, rounds=rounds).seconds)
