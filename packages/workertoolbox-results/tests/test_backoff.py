from __future__ import annotations

import random
from itertools import islice

import pytest

from cadasta.workertoolbox.results._backoff import backoff


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
