"""Histograms of durations on a log scale, which can be added up.

Percentiles of two sets of durations cannot be combined; their histograms can. The
relative error is bounded, as in DDSketch (Masson et al., VLDB 2019).
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from struct import pack, unpack

#: Ratio of the upper bounds of two adjacent buckets: with it, the error of a percentile
#: is at most 2 % (0.04 / 2.04).
GAMMA = 1.04

#: Upper bound in seconds of bucket 0. Times are stored in microseconds.
SMALLEST_S = 1e-6

#: The last bucket, which has no upper bound. It begins at 3,300 years.
LAST_BUCKET = 1000

#: Buckets per factor of e.
_SCALE = 1 / math.log(GAMMA)

#: Number of bucket 0 on a scale on which one second is 0.
_OFFSET = math.log(SMALLEST_S) * _SCALE

#: Formats of `struct` for unsigned integers, by their size in bytes.
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def bucket_number(seconds: float) -> int:
    """Return the number of the bucket that counts a duration.

    Bucket 0 counts durations up to a microsecond, zero, negative ones, and NaN. Bucket
    n counts those up to `SMALLEST_S * GAMMA**n`.
    """
    if not seconds > SMALLEST_S:
        return 0
    if seconds == math.inf:
        return LAST_BUCKET
    number = math.ceil(math.log(seconds) * _SCALE - _OFFSET)
    return min(max(number, 1), LAST_BUCKET)


def bucket_value(number: int) -> float:
    """Return the seconds that are nearest to all durations in a bucket, except 0."""
    # The relative distance to both ends of the bucket is the same.
    upper: float = SMALLEST_S * GAMMA**number
    return upper * 2 / (1 + GAMMA)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations are in each bucket of a log scale.

    Attributes:
        zeros: Number of durations in bucket 0.
        first: Number of the first other bucket that has durations; 0 without one.
        counts: Numbers of durations in the buckets from there to the last that has
            durations.
    """

    zeros: int = 0
    first: int = 0
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, durations: Iterable[float]) -> Histogram:
        """Return the histogram of durations in seconds."""
        buckets = Counter(map(bucket_number, durations))
        zeros = buckets.pop(0, 0)
        if not buckets:
            return cls(zeros)
        first = min(buckets)
        counts = [0] * (max(buckets) - first + 1)
        for number, count in buckets.items():
            counts[number - first] = count
        return cls(zeros, first, tuple(counts))

    @classmethod
    def merge(cls, histograms: Iterable[Histogram]) -> Histogram:
        """Return the histogram of the durations in all of the given ones."""
        every = list(histograms)
        zeros = sum(each.zeros for each in every)
        filled = [each for each in every if each.counts]
        if not filled:
            return cls(zeros)
        first = min(each.first for each in filled)
        end = max(each.first + len(each.counts) for each in filled)
        counts = [0] * (end - first)
        for each in filled:
            begin = each.first - first
            same = slice(begin, begin + len(each.counts))
            counts[same] = map(add, counts[same], each.counts)
        return cls(zeros, first, tuple(counts))

    @classmethod
    def from_text(cls, text: str) -> Histogram:
        """Return the histogram that `to_text` wrote."""
        if not text:
            return cls()
        zeros, first, size, encoded = text.split(":")
        packed = b64decode(encoded)
        form = _FORMATS[int(size)]
        counts = unpack(f"<{len(packed) // int(size)}{form}", packed)
        return cls(int(zeros), int(first), counts)

    def to_text(self) -> str:
        """Return a short text, whose length does not depend on the number of durations.

        It has the form `zeros:first:size:counts`. The counts are integers of `size`
        bytes, in little-endian order and in Base64. Lists in JSON have twice the
        length, and take ten times as long to read and to write.
        """
        if not self.counts:
            return f"{self.zeros}:0:1:" if self.zeros else ""
        bits = max(self.counts).bit_length()
        size = next(size for size in _FORMATS if bits <= 8 * size)
        packed = pack(f"<{len(self.counts)}{_FORMATS[size]}", *self.counts)
        return f"{self.zeros}:{self.first}:{size}:{b64encode(packed).decode()}"

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.merge((self, other))

    def __sub__(self, other: Histogram) -> Histogram:
        """Return the histogram without the durations of another.

        A duration that is not in this histogram is not subtracted.
        """
        zeros = max(self.zeros - other.zeros, 0)
        counts = [*self.counts]
        for number, count in enumerate(other.counts, other.first - self.first):
            if 0 <= number < len(counts):
                counts[number] = max(counts[number] - count, 0)
        filled = [number for number, count in enumerate(counts) if count]
        if not filled:
            return Histogram(zeros)
        begin, end = filled[0], filled[-1] + 1
        return Histogram(zeros, self.first + begin, tuple(counts[begin:end]))

    @property
    def count(self) -> int:
        """The number of durations."""
        return self.zeros + sum(self.counts)

    def percentile(self, percent: float) -> float | None:
        """Return a percentile in seconds, by nearest rank; None without durations.

        The error is at most 2 %.

        Args:
            percent: From 0 to 100; 50 is the median.
        """
        if not self.count:
            return None
        rank = max(math.ceil(percent * self.count / 100), 1)
        if rank <= self.zeros:
            return 0.0
        position = bisect_left([*accumulate(self.counts)], rank - self.zeros)
        return bucket_value(self.first + position)
