"""Histograms of durations on a log scale, which can be added.

Percentiles of two sets of durations cannot be combined; their histograms can. The
relative error is bounded, as in DDSketch (Masson et al., VLDB 2019).
"""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64encode
from binascii import a2b_base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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

#: Number of texts up to which the sums of counts of two bytes fit into four bytes.
MAX_SHORT_TEXTS = 2**16

#: Formats of `array` for unsigned integers, by their size in bytes.
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


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
        total_zeros = 0
        short: defaultdict[int, int] = defaultdict(int)
        long: defaultdict[int, int] = defaultdict(int)
        lines = "\n".join(texts).split("\n")
        are_few = len(lines) < MAX_SHORT_TEXTS
        for zeros, first, size, encoded in map(_split, filter(None, lines)):
            total_zeros += zeros
            counts = a2b_base64(encoded)
            if size <= 2 and are_few:
                short[first] += _as_number(counts, size, 4)
            else:
                long[first] += _as_number(counts, size, 8)
        buckets = Counter({0: total_zeros})
        buckets.update(_as_counts(short, 4))
        buckets.update(_as_counts(long, 8))
        return cls({number: count for number, count in buckets.items() if count})

    def to_text(self) -> str:
        """Return a short text, whose length hardly depends on the number of durations.

        It has the form `zeros:first:size:counts`: the count of bucket 0, the number of
        the first other bucket, and the counts from there on, as integers of `size`
        bytes in little-endian order and in Base64. JSON would be longer and several
        times as slow. The text of a histogram without durations is empty.
        """
        return self.add_to_text("")

    def add_to_text(self, text: str) -> str:
        """Return the text of the sum with another histogram, whose text is given."""
        if not self.buckets:
            return text
        zeros, first, counts = _read(text)
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
                counts = array(_FORMATS[_size(count)], counts)
                limit = 2 ** (8 * counts.itemsize)
            counts[number - first] = count
        return _write(zeros + self.buckets.get(0, 0), first, counts)

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
        rank = max(math.ceil(percent * self.count / 100), 1)
        for number in sorted(self.buckets):
            rank -= self.buckets[number]
            if rank <= 0:
                return bucket_value(number)
        return None


def _read(text: str) -> tuple[int, int, array[int]]:
    """Return the zeros, the first number, and the counts in the text of a histogram."""
    zeros, first, size, encoded = _split(text or "0:0:1:")
    counts = array(_FORMATS[size], a2b_base64(encoded))
    if sys.byteorder == "big":
        counts.byteswap()
    return zeros, first, counts


def _split(text: str) -> tuple[int, int, int, str]:
    zeros, first, size, encoded = text.split(":")
    return int(zeros), int(first), int(size), encoded


def _as_number(counts: bytes, size: int, lane: int) -> int:
    """Return counts as one large integer, each in its own bytes of it.

    Python adds such integers more than twice as fast as it adds the counts one by one.

    Args:
        counts: Integers in little-endian order.
        size: Bytes of each.
        lane: Bytes of each in the large integer, so that sums do not overflow.
    """
    lanes = bytearray(len(counts) // size * lane)
    for position in range(size):
        lanes[position::lane] = counts[position::size]
    return int.from_bytes(lanes, "little")


def _as_counts(numbers: Mapping[int, int], lane: int) -> Mapping[int, int]:
    """Return the counts in sums of `_as_number`, by bucket.

    Args:
        numbers: The sums, by the bucket of their first count.
    """
    total = sum(number << 8 * lane * first for first, number in numbers.items())
    length = -(-total.bit_length() // (8 * lane)) * lane
    counts = array(_FORMATS[lane], total.to_bytes(length, "little"))
    if sys.byteorder == "big":
        counts.byteswap()
    return {bucket: count for bucket, count in enumerate(counts) if count}


def _write(zeros: int, first: int, counts: array[int]) -> str:
    size = counts.itemsize
    if sys.byteorder == "big":
        counts.byteswap()
    return f"{zeros}:{first}:{size}:{b64encode(counts).decode()}"


def _zeros(like: array[int], number: int) -> array[int]:
    return array(like.typecode, bytes(number * like.itemsize))


def _size(count: int) -> int:
    """Return the size in bytes of the smallest integer that can hold a count."""
    return next(size for size in _FORMATS if count.bit_length() <= 8 * size)
