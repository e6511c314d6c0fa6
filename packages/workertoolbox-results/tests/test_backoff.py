from __future__ import annotations

import random
import time
from itertools import islice

import pytest

from cadasta.workertoolbox.results._monitor.backoff import backoff, sleep_unless


class Highest(random.Random):
    """Draws the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_range_of_a_wait_doubles_up_to_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", Highest().uniform)

    assert list(islice(backoff(), 8)) == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_two_monitors_do_not_wait_alike() -> None:
    one, other = list(islice(backoff(), 8)), list(islice(backoff(), 8))

    assert all(a != b for a, b in zip(one, other, strict=True))
    assert all(0 <= wait_s <= 15 for wait_s in one + other)


def test_a_rest_ends_within_about_a_second_of_a_stop() -> None:
    answers = iter([False, True])
    began_at = time.monotonic()
    sleep_unless(60, is_over=lambda: next(answers))

    assert time.monotonic() - began_at < 10
    assert list(answers) == []


def test_a_rest_that_is_not_ended_lasts_as_long_as_it_should() -> None:
    began_at = time.monotonic()
    sleep_unless(0.2, is_over=lambda: False)

    assert 0.2 <= time.monotonic() - began_at < 5
