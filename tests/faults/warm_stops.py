"""Stop many workers of each pool with SIGTERM while they run tasks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from subprocess import TimeoutExpired

from celery import Celery

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import upgrade
from servers import rabbitmq
from support.brokers import server_broker
from support.conformance_harness import CELERY
from support.conformance_service import EXECUTIONS
from support.polling import wait_until
from support.processes import running

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
        folder: An empty folder for the broker, the results and the logs.
        pools: Some of `POOLS`.
        count: The number of workers of each pool, with and without events.
    """
    failures: list[str] = []
    with rabbitmq.serve(folder) as server, server.access() as access:
        database = f"sqlite:///{folder / 'results.sqlite'}"
        environment = server_broker("rabbitmq", access, database=database).environment
        environment[EXECUTIONS] = str(folder / "journal")
        app = Celery("producer", set_as_current=False)
        app.config_from_object(
            Config(
                ["export", "msg"],
                broker_url=access.url,
                result_backend=environment["WORKERTOOLBOX_RESULT_BACKEND"],
            )
        )
        upgrade(app.conf.result_backend)
        for pool, options in product(pools, ((), ("-E",))):
            worker = ["-P", pool, "-c", "4", *options]
            found = [
                failure
                for _ in range(count)
                if (failure := _stop_one(app, folder, environment, worker))
            ]
            name = " ".join(worker)
            print(f"{name}: {count - len(found)} of {count} ended", flush=True)
            failures += [f"{name}: {failure}" for failure in found]
    return failures


def _stop_one(
    app: Celery, folder: Path, environment: dict[str, str], options: list[str]
) -> str | None:
    journal = folder / "journal"
    before = journal.stat().st_size if journal.exists() else 0
    for _ in range(TASKS):
        app.send_task("export.echo", ["stop"])
    with running(
        [*CELERY, "worker", "-l", "INFO", *options],
        folder=folder,
        environment=environment,
        name="worker",
        print_output=False,
    ) as worker:
        try:
            wait_until(lambda: journal.exists() and journal.stat().st_size > before)
            code = worker.stop(timeout_s=TIMEOUT_S)
        except (AssertionError, TimeoutExpired) as error:
            return f"{error}; see {worker.log}"
    return None if code == 0 else f"ended with {code}; see {worker.log}"
