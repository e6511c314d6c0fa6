"""Publishes the tasks of a soak, and those of beat.

`python -m endurance.producer TASKS STEPS`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import chain, chord

from endurance.clock import steps_of
from endurance.halting import halted
from endurance.service import app, failing, part, retrying, short, step, total
from endurance.workload import (
    CHAIN,
    CLEANUP,
    CLOCK,
    FAILING,
    HEADER,
    PUBLISHED,
    RETRYING,
    ROUND,
    SHORT,
    SINGLE,
)
from support.polling import wait_until

#: Number of waiting tasks from which the producer rests.
ENOUGH = 1000

#: Seconds that it rests at most.
TIMEOUT_S = 600.0


def main(tasks: int, steps: int) -> None:
    """Publish so many tasks, and a cleanup after each step of the clock."""
    clock = Path(os.environ[CLOCK])
    cleanups = 0
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        print("publishing", flush=True)
        for first in range(0, tasks, ROUND):
            wait_until(
                lambda: channel.queue_declare("export").message_count <= ENOUGH,
                timeout_s=TIMEOUT_S,
            )
            with halted(clock):
                cleanups += _send_cleanups(clock, cleanups)
                _publish_round(first)
        print(PUBLISHED, flush=True)
        wait_until(lambda: steps_of(clock) == steps, timeout_s=TIMEOUT_S)
        with halted(clock):
            _send_cleanups(clock, cleanups)


def _send_cleanups(clock: Path, sent: int) -> int:
    """Send the cleanups that are due; return how many."""
    due = steps_of(clock) - sent
    for _ in range(due):
        app.send_task(CLEANUP)
    return due


def _publish_round(first: int) -> None:
    numbers = iter(range(first, first + ROUND))
    for _ in range(SINGLE[SHORT]):
        short.delay(next(numbers), "some/folder")
    for _ in range(SINGLE[FAILING]):
        failing.delay(next(numbers))
    for _ in range(SINGLE[RETRYING]):
        retrying.delay(next(numbers))
    chord(part.s(next(numbers)) for _ in range(HEADER))(total.s())
    chain(step.s(first), *(step.s() for _ in range(CHAIN - 1))).delay()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
