"""Histograms of durations on a log scale, which can be added.

Percentiles of two sets of durations cannot be combined; their histograms can. The
relative error is bounded, as in DDSketch (Masson et al., VLDB 2019).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from cadasta.workertoolbox.results._history.histogram_text import (
    BucketSums,
    Counts,
    read_text,
    sum_texts,
    widened,
    write_text,
)

#: Ratio of the upper bounds of two adjacent buckets: with it, the error of a percentile
#: is at most 2 % (0.04 / 2.04).
GAMMA = 1.04

#: Upper bound in seconds of bucket 0. Times are stored in microseconds.
SMALLEST_S = 1e-6

#: The last bucket, which has no upper bound. It begins at 3,300 years.
LAST_BUCKET = 1000

#: Upper bound in seconds of the bucket before the last.
_LARGEST_S = SMALLEST_S * GAMMA ** (LAST_BUCKET - 1)

#: Buckets per factor of e.
_SCALE = 1 / math.log(GAMMA)

#: Number of bucket 0 on a scale on which one second is 0.
_OFFSET = math.log(SMALLEST_S) * _SCALE


def bucket_number(seconds: float) -> int:
    """Return the number of the bucket that counts a duration.

    Bucket 0 counts durations up to a microsecond, zero, negative ones, and NaN. Bucket
    n counts those up to `SMALLEST_S * GAMMA**n`.
    """
    if not seconds > SMALLEST_S:
        return 0
    if seconds > _LARGEST_S:
        return LAST_BUCKET
    return math.ceil(math.log(seconds) * _SCALE - _OFFSET)


def bucket_value(number: int) -> float:
    """Return the duration in seconds that is nearest to all durations in a bucket."""
    if number == 0:
        return 0.0
    # The relative distance to both ends of the bucket is the same.
    upper: float = SMALLEST_S * GAMMA**number
    return upper * 2 / (1 + GAMMA)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations are in each bucket of a log scale.

    Attributes:
        buckets: Numbers of durations by bucket. Buckets without durations are left out.
    """

    buckets: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, durations: Iterable[float]) -> Histogram:
        """Return the histogram of durations in seconds."""
        return cls(Counter(map(bucket_number, durations)))

    @classmethod
    def merge(cls, histograms: Iterable[Histogram]) -> Histogram:
        """Return the histogram of the durations in all of the given ones."""
        first, *others = [each.buckets for each in histograms] or [{}]
        merged = dict(first)
        for buckets in others:
            for number, count in buckets.items():
                merged[number] = merged.get(number, 0) + count
        return cls(merged)

    @classmethod
    def from_text(cls, *texts: str) -> Histogram:
        """Return the sum of the histograms that `to_text` wrote.

        A text may be that of several histograms, one in each line.
        """
        return cls(sum_texts(texts).buckets())

    def to_text(self) -> str:
        """Return a short text, whose length hardly depends on the number of durations.

        `histogram_text.py` describes it. That of a histogram without durations is
        empty.
        """
        return self.add_to_text("")

    def add_to_text(self, text: str) -> str:
        """Return the text of the sum with another histogram, whose text is given."""
        if not self.buckets:
            return text
        zeros, first, counts = read_text(text)
        numbers = self.buckets.keys() - {0}
        if numbers:
            low, high = min(numbers), max(numbers)
            if not counts:
                first = low
            before, after = first - low, high + 1 - first - len(counts)
            if before > 0:
                counts = _zeros(counts, before) + counts
                first = low
            if after > 0:
                counts += _zeros(counts, after)
        limit = 2 ** (8 * counts.itemsize)
        for number in numbers:
            count = counts[number - first] + self.buckets[number]
            if count >= limit:
                counts = widened(counts, count)
                limit = 2 ** (8 * counts.itemsize)
            counts[number - first] = count
        total_zeros = zeros + self.buckets.get(0, 0)
        return write_text(Counts(total_zeros, first, counts))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.merge((self, other))

    def __sub__(self, other: Histogram) -> Histogram:
        """Return the histogram without the durations of another.

        A duration that is not in this histogram is not subtracted.
        """
        left = {
            number: count - other.buckets.get(number, 0)
            for number, count in self.buckets.items()
        }
        return Histogram({number: count for number, count in left.items() if count > 0})

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.buckets.values())

    def percentile(self, percent: float) -> float | None:
        """Return a percentile in seconds, by nearest rank; None without durations.

        The error is at most 2 %.

        Args:
            percent: From 0 to 100; 50 is the median.
        """
        return self.percentiles(percent)[0]

    def percentiles(self, *percents: float) -> Sequence[float | None]:
        """Return several percentiles, as `percentile` does."""
        if not self.buckets:
            return [None] * len(percents)
        numbers, each = zip(*sorted(self.buckets.items()), strict=True)
        counts = [*accumulate(each)]
        return [bucket_value(numbers[place]) for place in _places(counts, percents)]


def sum_percentiles(sums: BucketSums, *percents: float) -> Sequence[float | None]:
    """Return percentiles of sums in seconds, as `Histogram.percentiles` does."""
    if sums.large:
        return Histogram(sums.buckets()).percentiles(*percents)
    counts = [*accumulate(sums.numbers(), initial=sums.zeros)]
    if not counts[-1]:
        return [None] * len(percents)
    places = _places(counts, percents)
    return [bucket_value(place and sums.first + place - 1) for place in places]


def _places(counts: Sequence[int], percents: Iterable[float]) -> Iterator[int]:
    """Yield the places of percentiles, by nearest rank, in cumulative counts."""
    for percent in percents:
        # A product of large numbers is rounded, maybe to more than there are.
        rank = min(math.ceil(percent * counts[-1] / 100), counts[-1])
        yield bisect_left(counts, max(rank, 1))


def _zeros(like: array[int], number: int) -> array[int]:
    return array(like.typecode, bytes(number * like.itemsize))
