"""The text of a histogram, and sums of thousands of such texts.

A text has the form `zeros:first:size:counts`: the count of bucket 0, the number of the
first other bucket, and the counts from there on, as integers of `size` bytes in
little-endian order and in Base64. JSON would be longer and several times as slow.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from binascii import a2b_base64
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

#: Maximum number of texts that are added at once. The sum of so many counts of one byte
#: fits into two bytes, that of counts of two bytes into four, and so on.
BATCH_SIZE = 256

#: Number of texts that are kept as integers, which takes a few megabytes.
CACHE_SIZE = 8192

#: Number of characters from which the sum of a text of several histograms is kept.
MIN_LONG = 256

#: Number of such sums that are kept, which takes a few megabytes.
LONG_CACHE_SIZE = 4096

#: Formats of `array` for unsigned integers, by their size in bytes.
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}

#: Sizes of counts, in bytes, for which `array` also has a format of twice the size.
_SHORT = (1, 2, 4)

#: Number of buckets that a sum has room for; more than `LAST_BUCKET`.
_ROOM = 1024

_OUT_OF_RANGE = f"number of a bucket must be from 0 to {_ROOM - 1}"

#: Bit masks of the counts of even buckets, by the size of a count in bytes.
_EVEN = {
    size: int.from_bytes((b"\xff" * size + bytes(size)) * (_ROOM // 2), "little")
    for size in _SHORT
}


class Counts(NamedTuple):
    """What the text of a histogram says.

    Attributes:
        zeros: The count of bucket 0.
        first: Number of the first bucket of `numbers`.
        numbers: The counts of successive buckets.
    """

    zeros: int
    first: int
    numbers: array[int]


def read_text(text: str) -> Counts:
    """Return the counts in a text; an empty text has none.

    Raises:
        ValueError: The text is malformed.
    """
    zeros, first, size, data = _read_parts(text or "0:0:1:")
    return Counts(zeros, first, _in_order(array(_FORMATS[size], data)))


def _read_parts(text: str) -> tuple[int, int, int, bytes]:
    zeros, first_text, size_text, encoded = text.split(":")
    first, size = int(first_text), int(size_text)
    if size not in _FORMATS:
        raise ValueError(f"size of counts must be one of {[*_FORMATS]}, got {size}")
    if not 0 <= first < _ROOM:  # A shift by a large number would take all memory.
        raise ValueError(_OUT_OF_RANGE)
    data = a2b_base64(encoded)
    if len(data) % size:
        raise ValueError(f"{len(data)} bytes are not counts of {size} bytes each")
    return int(zeros), first, size, data


def write_text(counts: Counts) -> str:
    """Return the text of counts."""
    zeros, first, numbers = counts
    encoded = b64encode(_in_order(numbers)).decode()
    return f"{zeros}:{first}:{numbers.itemsize}:{encoded}"


def widened(numbers: array[int], count: int) -> array[int]:
    """Return numbers as integers of a size that can hold a count too."""
    size = next(size for size in _FORMATS if count.bit_length() <= 8 * size)
    return array(_FORMATS[size], numbers)


class BucketSums(NamedTuple):
    """Sums of counts by bucket.

    Python adds two large integers several times as fast as hundreds of small ones, and
    than dictionaries of them.

    Attributes:
        zeros: The count of bucket 0.
        first: Number of the first bucket of `integer`.
        integer: The sums of counts of at most four bytes, as integers of eight bytes.
        large: The sums of counts of eight bytes, which may need more than that.
    """

    zeros: int
    first: int
    integer: int
    large: Mapping[int, int]

    def numbers(self) -> array[int]:
        """Return the sums in `integer`."""
        size = -(-self.integer.bit_length() // 64) * 8
        return _in_order(array("Q", self.integer.to_bytes(size, "little")))

    def buckets(self) -> dict[int, int]:
        """Return the sums by bucket; those that are 0 are left out."""
        total = {n: each for n, each in enumerate(self.numbers(), self.first) if each}
        for more in ({0: self.zeros}, self.large):
            for bucket, count in more.items():
                if count:
                    total[bucket] = total.get(bucket, 0) + count
        return total


def sum_texts(texts: Iterable[str]) -> BucketSums:
    """Return the sums of the counts in texts.

    Args:
        texts: Each may be several texts, one in each line. Empty ones count nothing.

    Raises:
        ValueError: A text is malformed.
    """
    sums, short = [], []
    for text in texts:
        if len(text) < MIN_LONG or "\n" not in text:
            short.append(text)
        else:
            sums.append(_sum_long(_LongText(text)))
    if short:
        sums.append(_sum_lines("\n".join(short).split("\n")))
    return add_sums(sums)


def add_sums(sums: Sequence[BucketSums]) -> BucketSums:
    """Return the sum of sums."""
    large: dict[int, int] = {}
    for each in sums:
        for bucket, number in each.large.items():
            large[bucket] = large.get(bucket, 0) + number
    integer = sum([each.integer << 64 * each.first for each in sums])
    return BucketSums(sum([each.zeros for each in sums]), *_trimmed(integer), large)


class _LongText:
    """A text of several histograms as a key of a cache, which does not keep the text.

    Two of a million texts have the same hash and length less often than memory fails.
    """

    __slots__ = ("key", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.key = hash(text), len(text)

    def __hash__(self) -> int:
        return self.key[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LongText) and self.key == other.key


@lru_cache(maxsize=LONG_CACHE_SIZE)
def _sum_long(text: _LongText) -> BucketSums:
    """Return the sum of a text of several histograms.

    The hours and days of a window stay the same until the next hour or day, so that
    their sums are needed again for every reader of the same figures.
    """
    lines = text.text.split("\n")
    text.text = ""
    return _sum_lines(lines)


def _sum_lines(lines: Collection[str]) -> BucketSums:
    zeros, integer = 0, 0
    large: dict[int, int] = {}
    for batch in _batches(lines):
        sums = dict.fromkeys(_FORMATS, (0, 0))
        for line, times in batch.items():
            some, size, counts, even = _read_integers(line)
            zeros += some * times
            total, total_even = sums[size]
            sums[size] = total + counts * times, total_even + even * times
            if size not in _EVEN:
                _, first, numbers = read_text(line)
                for bucket, number in enumerate(numbers, first):
                    large[bucket] = large.get(bucket, 0) + number * times
        for size in _SHORT:
            if sums[size][0]:
                integer += _widened_sum(size, *sums[size])
    return BucketSums(zeros, *_trimmed(integer), large)


def _trimmed(integer: int) -> tuple[int, int]:
    """Return the number of the first count that is not 0, and the counts from it on."""
    first = max((integer & -integer).bit_length() - 1, 0) // 64
    return first, integer >> 64 * first


def _batches(lines: Collection[str]) -> Iterator[Mapping[str, int]]:
    """Yield texts with their numbers, which are at most `BATCH_SIZE` together.

    Equal texts are frequent, because many have few durations.
    """
    if len(lines) <= BATCH_SIZE:
        yield Counter(lines)
        return
    batch: dict[str, int] = {}
    room = BATCH_SIZE
    for line, times in Counter(lines).items():
        while times > room:
            batch[line] = room
            yield batch
            batch, times, room = {}, times - room, BATCH_SIZE
        batch[line] = times
        room -= times
    yield batch


@lru_cache(maxsize=CACHE_SIZE)
def _read_integers(text: str) -> tuple[int, int, int, int]:
    """Return the count of bucket 0, the size of the others, and these as one integer.

    The last integer has only those of even buckets. Texts are read again and again: the
    figures of past days do not change, and different names have equal ones.
    """
    zeros, first, size, data = _read_parts(text or "0:0:1:")
    counts = int.from_bytes(data, "little") << 8 * size * first
    return zeros, size, counts, counts & _EVEN[size] if size in _EVEN else 0


def _widened_sum(size: int, total: int, even: int) -> int:
    """Return the sums of the counts of a batch as integers of eight bytes.

    Python adds two large integers several times as fast as hundreds of small ones, so
    the counts of a text are read as one integer. Sums may be twice as long as counts.
    Therefore those of even buckets are also added alone, with zeros in between; the sum
    of all, less that sum, is the sum of the odd ones.

    Args:
        size: The size of a count in bytes.
        total: The sum of all counts.
        even: The sum of those of even buckets.
    """
    if total >> 8 * size * _ROOM:
        raise ValueError(_OUT_OF_RANGE)
    # An even number of buckets without counts: the lowest bit may be the upper half of
    # a sum, in the place of the next bucket.
    first = max(((total & -total).bit_length() - 1) // (16 * size) - 1, 0) * 2
    shift = 8 * size * first
    counts = _alternating(even >> shift, total - even >> shift + 8 * size, 2 * size)
    wide = _in_order(array("Q", counts))
    return int.from_bytes(wide, "little") << 64 * first


def _alternating(even: int, odd: int, size: int) -> array[int]:
    """Return the counts that two large integers consist of, in turn.

    Args:
        size: The size of a count in bytes.
    """
    number = -(-max(even, odd).bit_length() // (8 * size))
    both = array(_FORMATS[size], bytes(2 * number * size))
    for place, large in enumerate((even, odd)):
        digits = array(_FORMATS[size], large.to_bytes(number * size, "little"))
        both[place::2] = _in_order(digits)
    return both


def _in_order(numbers: array[int]) -> array[int]:
    """Return numbers with their bytes in little-endian order, or undo that."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
