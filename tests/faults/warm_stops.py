"""Stop many workers of each pool with SIGTERM while they run tasks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from subprocess import TimeoutExpired

from servers import rabbitmq
from support.polling import wait_until
from support.queue_contents import RabbitMQContents
from support.routing_processes import executions, routing_app, run_worker

#: The pools, each of which is stopped with and without events.
POOLS = ("gevent", "eventlet", "threads", "solo", "prefork")

#: Tasks that are published for each worker. It is stopped when it has run the first.
TASKS = 20

#: Seconds within which a worker must end.
TIMEOUT_S = 20.0


def stop_workers(
    folder: Path, *, count: int, pools: Sequence[str] = POOLS
) -> list[str]:
    """Stop workers on RabbitMQ, and return what went wrong.

    Args:
        folder: An empty folder for the broker and the logs.
        pools: Some of `POOLS`.
        count: The number of workers of each pool, with and without events.
    """
    failures: list[str] = []
    with rabbitmq.serve(folder) as server, server.access() as access:
        contents = RabbitMQContents(access)
        for pool, options in product(pools, ((), ("-E",))):
            name = " ".join([pool, *options])
            found = [
                failure
                for number in range(count)
                if (failure := _stop_one(contents, folder, number, pool, *options))
            ]
            print(f"{name}: {count - len(found)} of {count} ended", flush=True)
            failures += [f"{name}, {failure}" for failure in found]
    return failures


def _stop_one(
    contents: RabbitMQContents, folder: Path, number: int, pool: str, *options: str
) -> str | None:
    before = len(executions(folder))
    with routing_app(contents) as app:
        for _ in range(TASKS):
            app.send_task("export.note")
    with run_worker(contents, folder, "-P", pool, "-c", "4", *options) as worker:
        try:
            wait_until(lambda: len(executions(folder)) > before)
            code = worker.stop(timeout_s=TIMEOUT_S)
        except (AssertionError, TimeoutExpired) as error:
            return f"worker {number}: {error}; see {worker.log}"
    return None if code == 0 else f"worker {number} ended with {code}"
