"""Intervals between two queries."""

from __future__ import annotations

import itertools

from cadasta.workertoolbox.results._backend.polling import poll_intervals


def test_intervals_start_short_and_grow_to_the_longest() -> None:
    first = list(itertools.islice(poll_intervals(None, longest_s=0.5), 100))

    assert first[0] == 0.001
    assert first == sorted(first, key=lambda interval: interval or 0)
    assert first[-1] == 0.5


def test_the_last_interval_ends_at_the_timeout() -> None:
    assert list(itertools.islice(poll_intervals(0, longest_s=0.5), 2)) == [None, None]
    assert next(poll_intervals(0.0005, longest_s=0.5)) < 0.001  # type: ignore[operator]
