"""Two ways of doing the same, measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """What several paired rounds gave.

    Attributes:
        title: What was compared.
        ours_s: Seconds per item of each round, ours.
        theirs_s: The same of the other way, in the same order.
    """

    title: str
    ours_s: list[float]
    theirs_s: list[float]

    @property
    def ratio(self) -> float:
        """Our time per item over theirs: the median over the rounds."""
        return statistics.median(
            ours / theirs
            for ours, theirs in zip(self.ours_s, self.theirs_s, strict=True)
        )

    def __str__(self) -> str:
        ours, theirs = (
            statistics.median(times) * 1e6 for times in (self.ours_s, self.theirs_s)
        )
        return (
            f"{self.title}: ours {ours:,.0f} µs, theirs {theirs:,.0f} µs an item; "
            f"ours takes {self.ratio:.3f} × the time, "
            f"so {1 / self.ratio:.3f} × the rate"
        )


def compare(
    title: str,
    *,
    ours: Callable[[int], None],
    theirs: Callable[[int], None],
    items: int,
    rounds: int = 7,
    before: Callable[[], object] = lambda: None,
) -> Comparison:
    """Run both ways in turn, the first to go changing with each round.

    Args:
        ours: Does the work for a number of items.
        theirs: The same in the other way.
        items: How many in a round.
        rounds: How many rounds after one that is not counted.
        before: Done before each, and not counted.
    """
    comparison = Comparison(title, [], [])
    ways = [(ours, comparison.ours_s), (theirs, comparison.theirs_s)]
    for number in range(rounds + 1):
        for work, times in ways if number % 2 else reversed(ways):
            before()
            start = time.perf_counter()
            work(items)
            if number:
                times.append((time.perf_counter() - start) / items)
    return comparison
