from __future__ import annotations

import random
import time
from itertools import islice

import pytest

from cadasta.workertoolbox.results._monitor.backoff import backoff, sleep_unless


class Highest(random.Random):
    """A generator that returns the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_range_of_a_wait_doubles_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", Highest().uniform)

    assert list(islice(backoff(), 8)) == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_two_monitors_wait_for_different_times() -> None:
    one, other = list(islice(backoff(), 8)), list(islice(backoff(), 8))

    assert all(a != b for a, b in zip(one, other, strict=True))
    assert all(0 <= wait_s <= 15 for wait_s in one + other)


def test_a_sleep_ends_about_a_second_after_a_stop() -> None:
    answers = iter([False, True])
    began_at = time.monotonic()
    sleep_unless(60, should_stop=lambda: next(answers))

    assert time.monotonic() - began_at < 10
    assert list(answers) == []


def test_a_sleep_without_a_stop_takes_its_full_time() -> None:
    began_at = time.monotonic()
    sleep_unless(0.2, should_stop=lambda: False)

    assert 0.2 <= time.monotonic() - began_at < 5
