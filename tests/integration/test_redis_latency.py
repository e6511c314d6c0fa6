"""A worker of several queues on Redis looks for the next message soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from celery import Celery, chain

from support.polling import wait_until
from support.queue_contents import RedisContents
from support.routing_processes import executions, routing_app, run_worker

#: Steps of a chain; each one is published when the one before has run.
STEPS = 40

#: Priorities of the steps.
PRIORITIES = (0, 6)

#: Most seconds of the first wait after a message.
FIRST_WAIT_S = 0.005


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_worker_of_several_queues_at_most_doubles_the_wait(
    queues: RedisContents, tmp_path: Path
) -> None:
    with (
        routing_app(queues) as app,
        run_worker(queues, tmp_path, "-P", "prefork", "-c", "1") as worker,
        queues.connected() as client,
    ):
        worker.wait_for("ready")
        with client.monitor() as monitor:  # type: ignore[no-untyped-call]
            for priority in PRIORITIES:
                run_chain(app, tmp_path, priority)
            client.echo(end := uuid4().hex)
            fetched, waits = read_waits(monitor, queues.key(""), end)

    assert fetched == len(PRIORITIES) * STEPS
    assert waits
    # A step that arrives in another list meanwhile is found at the end of the wait. So
    # a chain takes at most twice as long as with one queue.
    for wait in waits:
        assert wait.longest_s <= wait.before_s + FIRST_WAIT_S


def run_chain(app: Celery, folder: Path, priority: int) -> None:
    """Run a chain to its end."""
    expected = len(executions(folder)) + STEPS
    step = app.signature("export.note", immutable=True).set(priority=priority)
    chain(*[step.clone() for _ in range(STEPS)]).apply_async(priority=priority)
    wait_until(lambda: len(executions(folder)) >= expected)


class Wait(NamedTuple):
    """A wait for a message.

    Attributes:
        longest_s: The seconds after which the server ends it.
        before_s: The seconds of the waits between the last message and this wait.
    """

    longest_s: float
    before_s: float


def read_waits(monitor: Any, prefix: str, end: str) -> tuple[int, list[Wait]]:
    """Read what Redis did with keys of a prefix, up to the command `ECHO end`.

    Args:
        monitor: The monitor of redis-py, which has no types.

    Returns:
        The number of messages that were fetched, and the waits after the first one.
    """
    fetched, before_s, waits = 0, 0.0, []
    while (seen := monitor.next_command())["command"] != f"ECHO {end}":
        name, *words = seen["command"].split(" ")
        if not any(word.startswith(prefix) for word in words):
            continue
        if name == "HSET" and seen["client_type"] == "lua":
            fetched, before_s = fetched + 1, 0.0
        elif name == "BLMOVE" and fetched:
            waits.append(Wait(float(words[-1]), before_s))
            before_s += waits[-1].longest_s
    return fetched, waits
