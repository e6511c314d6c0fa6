"""A worker of several queues on Redis is as fast as a worker of one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from celery import Celery, chain

from support.polling import wait_until
from support.queue_contents import QueueContents
from support.routing_processes import executions, routing_app, run_worker

#: Steps of a chain; each one is published when the one before has run.
STEPS = 40


#: Priorities of the steps.
PRIORITIES = (0, 6)


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_chain_takes_no_longer_with_several_queues(
    queues: QueueContents, tmp_path: Path
) -> None:
    durations_s = []
    for options in (("-Q", "export"), ()):
        with (
            routing_app(queues) as app,
            run_worker(queues, tmp_path, "-P", "prefork", "-c", "1", *options) as one,
        ):
            one.wait_for("ready")
            run_chain(app, tmp_path, PRIORITIES[0])
            durations_s.append([run_chain(app, tmp_path, each) for each in PRIORITIES])

    for one_queue_s, several_queues_s in zip(*durations_s, strict=True):
        assert several_queues_s < 3 * one_queue_s


def run_chain(app: Celery, folder: Path, priority: int) -> float:
    """Run a chain, and return how long it took in seconds."""
    expected = len(executions(folder)) + STEPS
    step = app.signature("export.note", immutable=True).set(priority=priority)
    began_at = time.monotonic()
    chain(*[step.clone() for _ in range(STEPS)]).apply_async(priority=priority)
    wait_until(lambda: len(executions(folder)) >= expected)
    return time.monotonic() - began_at
