"""A monitor that has more messages than it can store is busy, on each broker.

SQS delivers ten messages at most, so no batch is ever full there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from celery import Celery

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._monitor.consumer import Monitor
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from support.polling import wait_until

#: Messages that wait when the monitor starts: more than it needs to see the load.
WAITING = 100

#: Messages that are sent afterwards, each when the one before is stored.
ONE_BY_ONE = 5


@pytest.mark.parametrize("broker", ["rabbitmq", "sqs"], indirect=True)
def test_a_monitor_with_many_messages_waiting_is_busy_until_they_are_stored(
    app: Celery, store: TaskStore
) -> None:
    for number in range(WAITING):
        app.send_task("export.echo", [number])
    seen: list[tuple[int, bool]] = []

    def on_commit(batch: CommittedBatch) -> None:
        seen.append((batch.stored, monitor._load.is_high()))

    def are_stored(number: int) -> bool:
        return sum(stored for stored, _ in seen) >= number

    monitor = Monitor(app, batch_size=20, on_commit=on_commit)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(monitor.run)
        try:
            wait_until(lambda: are_stored(WAITING) or done.done())
            in_burst = [*seen]
            wait_until(lambda: not monitor._load.is_high())
            for number in range(ONE_BY_ONE):
                app.send_task("export.echo", [number])
                wait_until(partial(are_stored, WAITING + number + 1))
        finally:
            monitor.stop()
        done.result()

    assert any(is_busy for _, is_busy in in_burst), in_burst
    assert not any(is_busy for _, is_busy in seen[len(in_burst) :])
