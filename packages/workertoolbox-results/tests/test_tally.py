"""Sums of what tasks contribute to the figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cadasta.workertoolbox.results._history.histogram import Histogram
from cadasta.workertoolbox.results._history.tally import (
    NOTHING,
    Columns,
    Contribution,
    Tally,
)


def contribution(**values: Any) -> Contribution:
    ended = {"status": "SUCCESS", "finished_at": datetime(2026, 11, 28, tzinfo=UTC)}
    return Contribution(
        **{"name": "export.fetch", "queue": "export", **ended, **values}
    )


#: Two sums in which no number is the same as another.
FIRST = Tally(10, 20, 30, *(Histogram({n: n}) for n in (4, 5, 6)))
SECOND = Tally(3, 2, 1, *(Histogram({n: 1, 9: n}) for n in (4, 5, 6)))


def test_a_contribution_without_numbers_counts_a_task_alone() -> None:
    assert Tally.of([contribution()]) == Tally(count=1)


def test_the_numbers_and_durations_of_contributions_are_added() -> None:
    tally = Tally.of(
        [
            contribution(retries=2, redeliveries=3, waited_s=1, ran_s=2, took_s=3),
            contribution(retries=5, redeliveries=7, waited_s=0),
        ]
    )

    assert tally == Tally(
        *(2, 7, 10),
        *(Histogram.of(durations) for durations in ([1, 0], [2], [3])),
    )


def test_attempts_that_were_retried_count_as_retries_alone() -> None:
    attempt = contribution(status="RETRY", retries=5, redeliveries=7, ran_s=2)

    assert Tally.of([attempt, attempt]) == Tally(retries=2)


def test_without_contributions_a_sum_is_empty() -> None:
    assert Tally.of([]) == Tally.merge([]) == Tally()


def test_sums_are_merged() -> None:
    assert Tally.merge([FIRST]) == FIRST
    assert Tally.merge([FIRST, SECOND]) == Tally(
        *(13, 22, 31),
        *(Histogram({n: n + 1, 9: n}) for n in (4, 5, 6)),
    )


def test_what_is_subtracted_does_not_count_and_nothing_is_below_zero() -> None:
    assert FIRST - SECOND == Tally(
        7, 18, 29, *(Histogram({n: n - 1}) for n in (4, 5, 6))
    )
    assert SECOND - FIRST == Tally(0, 0, 0, *(Histogram({9: n}) for n in (4, 5, 6)))
    assert FIRST - FIRST == Tally()


@pytest.mark.parametrize("tally", [Tally(), FIRST, SECOND])
def test_the_columns_of_a_row_are_read_as_what_was_written(tally: Tally) -> None:
    assert Tally.from_columns(tally.columns()) == tally


def test_rows_are_added() -> None:
    both = Tally.merge([FIRST, SECOND])

    assert Tally.from_columns(FIRST.columns(), SECOND.columns()) == both
    assert Tally.from_columns(SECOND.added_to(FIRST.columns())) == both
    assert Tally().columns() == NOTHING == Columns(0, 0, 0, "", "", "")
