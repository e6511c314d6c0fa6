from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from messages import message

from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.quarantine_record import quarantine_record
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch, Throughput


def batch(*ages_s: float, unread: int = 0) -> CommittedBatch:
    """Return a batch of tasks that were published the given number of seconds ago."""
    now = datetime.now(UTC)
    published = [(now - timedelta(seconds=age_s)).isoformat() for age_s in ages_s]
    read = [
        read_task(message(workertoolbox_published_at=instant), seen_at=now)
        for instant in published
    ]
    quarantined = [
        quarantine_record(message(), reason="not a task", seen_at=now)
    ] * unread
    return CommittedBatch.of([*read, *quarantined], duration_s=0.1)


def test_the_lag_of_a_batch_is_the_age_of_its_oldest_message() -> None:
    measured = batch(1, 30, 2, unread=3)

    assert (measured.stored, measured.quarantined) == (3, 3)
    assert measured.lag_s == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    "ages_s", [(), (-60,)], ids=["no task", "publisher's clock ahead"]
)
def test_the_lag_is_never_negative(ages_s: tuple[float, ...]) -> None:
    assert batch(*ages_s, unread=1).lag_s == 0


def test_a_log_line_reports_only_its_own_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    throughput = Throughput(interval_s=0)
    throughput.add(batch(5, 90))
    throughput.add(batch(7, unread=2))
    throughput.report_if_due()
    throughput.report_if_due()
    first, second = caplog.messages

    assert first.startswith("5 messages in 0 s (")
    assert first.endswith("/s), 2 batches, 2 quarantined, lag 90.0 s")
    assert second.startswith("0 messages in 0 s (0.0/s), 0 batches, 0 quarantined, lag")


def test_nothing_is_logged_before_the_interval_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    throughput = Throughput(interval_s=60)
    throughput.add(batch(1))
    throughput.report_if_due()

    assert caplog.messages == []
