"""Sums of the texts of histograms."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadasta.workertoolbox.results._history.histogram import (
    LAST_BUCKET,
    Histogram,
    sum_percentiles,
)
from cadasta.workertoolbox.results._history.histogram_text import (
    BATCH_SIZE,
    _LongText,
    _sum_long,
    add_sums,
    sum_texts,
)

SIZES = (1, 2, 4, 8)


def text(zeros: int, first: int, size: int, counts: Iterable[int]) -> str:
    encoded = b"".join(count.to_bytes(size, "little") for count in counts)
    return f"{zeros}:{first}:{size}:{b64encode(encoded).decode()}"


@st.composite
def texts(draw: st.DrawFn) -> str:
    size = draw(st.sampled_from(SIZES))
    largest = 256**size - 1
    count = st.one_of(st.sampled_from([0, 1, largest]), st.integers(0, largest))
    counts = draw(st.lists(count, max_size=6))
    first = draw(st.integers(1, LAST_BUCKET - 5))
    return text(draw(st.sampled_from([0, 1, 2**70])), first, size, counts)


def counted_one_by_one(lines: Iterable[str]) -> dict[int, int]:
    buckets: Counter[int] = Counter()
    for line in lines:
        zeros, first, size, encoded = line.split(":")
        buckets[0] += int(zeros)
        counts = b64decode(encoded)
        for start in range(0, len(counts), int(size)):
            count = int.from_bytes(counts[start : start + int(size)], "little")
            buckets[int(first) + start // int(size)] += count
    return {bucket: count for bucket, count in buckets.items() if count}


@given(
    st.lists(st.tuples(texts(), st.sampled_from([1, 2, BATCH_SIZE + 1])), max_size=20)
)
def test_a_sum_of_texts_is_that_of_their_counts(
    repeated: list[tuple[str, int]],
) -> None:
    lines = [line for line, times in repeated for _ in range(times)]

    expected = counted_one_by_one(lines)
    sums = sum_texts(lines)
    percentiles = Histogram(expected).percentiles(0, 50, 95, 99.9, 100)

    assert sums.buckets() == sum_texts(["\n".join(lines)]).buckets() == expected
    assert add_sums([sum_texts([each]) for each in lines]).buckets() == expected
    assert sum_percentiles(sums, 0, 50, 95, 99.9, 100) == percentiles


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("number", [BATCH_SIZE - 1, BATCH_SIZE, 10 * BATCH_SIZE + 1])
@pytest.mark.parametrize("are_equal", [True, False])
def test_the_largest_counts_of_many_texts_are_added(
    size: int, number: int, are_equal: bool
) -> None:
    largest = 256**size - 1
    lines = [
        text(0 if are_equal else n, 300, size, [largest] * 3) for n in range(number)
    ]

    total = sum_texts(lines).buckets()

    assert [total[bucket] for bucket in (300, 301, 302)] == [number * largest] * 3


def test_the_sum_of_a_long_text_is_kept_without_the_text() -> None:
    long = "\n".join(text(1, n, 1, [n]) for n in range(1, 100))
    before = _sum_long.cache_info()
    totals = [
        sum_texts([long + "\n1:353:1:AgE="[:each]]).buckets() for each in (0, 0, 13, 13)
    ]
    after = _sum_long.cache_info()

    assert totals[0] == totals[1] == {0: 99} | {n: n for n in range(1, 100)}
    assert totals[2] == totals[3] == totals[0] | {0: 100, 353: 2, 354: 1}
    assert (after.hits - before.hits, after.misses - before.misses) == (2, 2)
    key = _LongText(long)
    _sum_long(key)
    assert _LongText(long) == key != _LongText(long + "\n")


def test_empty_texts_count_nothing() -> None:
    assert sum_texts(["", "\n\n", "0:0:1:"]).buckets() == {}
    assert sum_texts([]).buckets() == {}


def test_the_last_bucket_is_added() -> None:
    endless = Histogram.of([float("inf")]).to_text()

    assert sum_texts([endless, endless]).buckets() == {LAST_BUCKET: 2}


@pytest.mark.parametrize(
    "malformed",
    [
        "1:2",  # Parts are missing.
        "1:2:1:AQ==:",
        "x:2:1:AQ==",
        "1:x:1:AQ==",
        "1:-2:1:AQ==",
        "1:2:x:AQ==",
        "1:2:0:",
        "1:2:3:AQAB",  # No integers of three bytes are written.
        "1:2:1:A",  # A part of a byte.
        "1:2:2:AQ==",  # A part of a count.
        "1:2:4:AQAB",
        "1:2:8:AQAB",
        "1:1024:1:AQ==",  # After the last bucket.
        "1:1023:4:AQAAAAEAAAA=",
    ],
)
def test_a_malformed_text_is_refused(malformed: str) -> None:
    with pytest.raises(ValueError):
        sum_texts(["1:353:1:AgE=", malformed])
