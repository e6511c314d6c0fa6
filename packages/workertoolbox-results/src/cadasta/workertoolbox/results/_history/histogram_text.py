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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

#: Maximum number of texts that are added at once. The sum of so many counts of one byte
#: fits into two bytes, that of counts of two bytes into four, and so on.
BATCH_SIZE = 256

#: Number of texts that are kept as integers, which takes a few megabytes.
CACHE_SIZE = 8192

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


def sum_texts(texts: Iterable[str]) -> dict[int, int]:
    """Return the sums of the counts in texts, by bucket; those that are 0 are left out.

    Args:
        texts: Each may be several texts, one in each line. Empty ones count nothing.

    Raises:
        ValueError: A text is malformed.
    """
    sums: list[Sequence[int]] = []
    for batch in _batches(filter(None, "\n".join(texts).split("\n"))):
        sums += _sum_batch(batch)
    total = sums[0] if len(sums) == 1 else map(sum, zip_longest(*sums, fillvalue=0))
    return {bucket: count for bucket, count in enumerate(total) if count}


def _batches(lines: Iterable[str]) -> Iterator[Mapping[str, int]]:
    """Yield texts with their numbers, which are at most `BATCH_SIZE` together.

    Equal texts are frequent, because many have few durations.
    """
    batch: dict[str, int] = {}
    room = BATCH_SIZE
    for line, times in Counter(lines).items():
        while times:
            batch[line] = some = min(times, room)
            times, room = times - some, room - some
            if not room:
                yield batch
                batch, room = {}, BATCH_SIZE
    yield batch


@lru_cache(maxsize=CACHE_SIZE)
def _read_integer(text: str) -> tuple[int, int, int]:
    """Return the count of bucket 0, the size of the others, and these as one integer.

    Texts are read again and again: the figures of past days do not change, and
    different names have equal ones.
    """
    zeros, first, size, data = _read_parts(text)
    return zeros, size, int.from_bytes(data, "little") << 8 * size * first


def _sum_batch(batch: Mapping[str, int]) -> Iterator[Sequence[int]]:
    """Yield sums of the counts in at most `BATCH_SIZE` texts, from bucket 0 on.

    Python adds two large integers several times as fast as hundreds of small ones, so
    the counts of a text are read as one integer. Sums may be twice as long as counts.
    Therefore those of even buckets are also added alone, with zeros in between; the sum
    of all, less that sum, is the sum of the odd ones.
    """
    total_zeros = 0
    sums = dict.fromkeys(_SHORT, 0)
    even_sums = dict.fromkeys(_SHORT, 0)
    for line, times in batch.items():
        zeros, size, counts = _read_integer(line)
        total_zeros += zeros * times
        if size not in _EVEN:
            _, first, numbers = read_text(line)
            yield [*[0] * first, *(number * times for number in numbers)]
            continue
        even = counts & _EVEN[size]
        if times > 1:
            counts *= times
            even *= times
        sums[size] += counts
        even_sums[size] += even
    if total_zeros:
        yield [total_zeros]
    for size, even in even_sums.items():
        if sums[size] >> 8 * size * _ROOM:
            raise ValueError(_OUT_OF_RANGE)
        if sums[size]:
            odd = sums[size] - even >> 8 * size
            yield _alternating(even, odd, 2 * size)


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
