"""The load of a monitor, which the archiver reads from the sizes of its batches."""

from __future__ import annotations

import pytest

from cadasta.workertoolbox.results._monitor import load
from cadasta.workertoolbox.results._monitor.load import SQS_BATCHES, Load


def test_a_full_batch_shows_that_more_messages_are_waiting() -> None:
    found = Load(500)
    found.add(499)
    assert not found.is_high()
    found.add(500)

    assert found.is_high()


def test_several_full_requests_to_sqs_in_a_row_show_the_same() -> None:
    found = Load(500)
    found.restart(is_sqs=True)
    for size in (*[10] * (SQS_BATCHES - 1), 9, *[10] * (SQS_BATCHES - 1)):
        found.add(size)
        assert not found.is_high()
    found.add(10)

    assert found.is_high()


def test_a_load_is_over_without_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "HIGH_S", 0.0)
    found = Load(500)
    found.add(500)

    assert not found.is_high()
