"""Histograms of durations on a log scale."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadasta.workertoolbox.results._history.histogram import Histogram

#: Zero, and seconds from more than a microsecond to 3,000 years.
DURATIONS = st.one_of(st.just(0.0), st.floats(2e-6, 1e11))

#: Durations that share a few buckets.
SIMILAR = st.sampled_from([0.0, 1.0, 1.05, 1.1, 2.0])


def nearest_rank(durations: list[float], percent: float) -> float:
    rank = max(math.ceil(percent * len(durations) / 100), 1)
    return sorted(durations)[rank - 1]


@given(st.lists(DURATIONS, min_size=1), st.integers(0, 100))
def test_a_percentile_is_within_two_percent_of_the_exact_one(
    durations: list[float], percent: int
) -> None:
    exact = nearest_rank(durations, percent)

    assert Histogram.of(durations).percentile(percent) == pytest.approx(exact, rel=0.02)


@given(st.lists(DURATIONS), st.lists(st.integers(0, 100)))
def test_several_percentiles_are_those_that_are_asked_for_one_by_one(
    durations: list[float], percents: list[int]
) -> None:
    histogram = Histogram.of(durations)

    assert histogram.percentiles(*percents) == [*map(histogram.percentile, percents)]


@given(st.lists(st.lists(DURATIONS)))
def test_the_sum_of_histograms_is_that_of_all_durations(
    parts: list[list[float]],
) -> None:
    together = Histogram.of([each for part in parts for each in part])

    texts = [Histogram.of(part).to_text() for part in parts]

    assert Histogram.merge(map(Histogram.of, parts)) == together
    assert Histogram.from_text(*texts) == together
    assert sum(map(Histogram.of, parts), Histogram()) == together


@given(st.lists(SIMILAR), st.lists(SIMILAR), st.sampled_from([1, 100, 2**16]))
def test_adding_to_a_text_is_adding_to_its_histogram(
    more: list[float], durations: list[float], times: int
) -> None:
    added = Histogram.of(more)
    histogram = Histogram.of(durations)
    counts = {number: count * times for number, count in histogram.buckets.items()}
    stored = Histogram(counts)

    assert added.add_to_text(stored.to_text()) == (stored + added).to_text()


def test_a_count_that_is_too_large_for_a_text_widens_it() -> None:
    second = Histogram.of([1.0])

    assert second.add_to_text(Histogram({353: 254}).to_text()) == "0:353:1:/w=="
    assert second.add_to_text(Histogram({353: 255}).to_text()) == "0:353:2:AAE="


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_subtracting_undoes_adding(first: list[float], second: list[float]) -> None:
    histogram = Histogram.of(first)
    other = Histogram.of(second)

    assert histogram + other - other == histogram


@given(st.lists(st.floats()))
def test_a_histogram_is_the_same_after_a_round_trip(durations: list[float]) -> None:
    histogram = Histogram.of(durations)

    assert Histogram.from_text(histogram.to_text()) == histogram
    assert histogram.count == len(durations)


def test_the_text_of_a_histogram_is_short() -> None:
    histogram = Histogram.of([1, 1, 1.05, -2])

    assert histogram.to_text() == "1:353:1:AgE="
    assert Histogram().to_text() == ""


@pytest.mark.parametrize("count", [255, 256, 2**16, 2**32, 2**64 - 1])
def test_counts_of_any_size_survive_a_round_trip(count: int) -> None:
    histogram = Histogram({0: count, 353: 1, 355: count})

    assert Histogram.from_text(histogram.to_text()) == histogram


@pytest.mark.parametrize("duration", [0, -0.5, 1e-7, -math.inf, math.nan])
def test_a_duration_that_is_not_positive_is_shown_as_zero(duration: float) -> None:
    assert Histogram.of([duration, duration, 9]).percentile(50) == 0


def test_an_endless_duration_is_in_the_last_bucket() -> None:
    assert Histogram.of([math.inf]) == Histogram.of([1e300])


def test_a_histogram_without_durations_has_no_percentiles() -> None:
    assert Histogram().percentile(50) is None


def test_a_duration_that_is_missing_is_not_subtracted() -> None:
    assert Histogram.of([1, 2]) - Histogram.of([2, 2, 3]) == Histogram.of([1])


def test_histograms_with_counts_of_different_sizes_are_added() -> None:
    parts = [
        Histogram({0: 3, 10: 255, 12: 1}),
        Histogram({10: 65_535, 400: 256}),
        Histogram({10: 65_535, 11: 65_536}),
        Histogram({1: 2**40, 1000: 7}),
        Histogram({0: 2**33}),
        Histogram(),
    ]

    assert Histogram.from_text(*[each.to_text() for each in parts]) == Histogram(
        {
            **{0: 2**33 + 3, 1: 2**40, 10: 131_325, 11: 65_536},
            **{12: 1, 400: 256, 1000: 7},
        }
    )
