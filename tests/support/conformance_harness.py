"""A running `conformance_service` on an unused broker, with counts of its messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection

from cadasta.workertoolbox.results import upgrade
from servers.access import BrokerServer
from servers.postgresql import PostgreSQL
from support.brokers import (
    SERVER_FIXTURES,
    Broker,
    database_broker,
    folder_broker,
    server_broker,
)
from support.conformance_service import EXECUTIONS, TOPOLOGY, make_service
from support.delivery_counts import Attempt, DeliveryCounts
from support.processes import SERVICE_FOLDER, Process, running
from support.proxy import Proxy, proxied_url, run_proxy

CELERY = [sys.executable, "-m", "celery", "-A", "conformance_service"]
CELERY += ["--workdir", str(SERVICE_FOLDER)]

#: The work queues, which must be empty before counts are compared.
WORK_QUEUES = ("celery", "export", "msg")

#: The variable with the broker's URL.
URL = "WORKERTOOLBOX_BROKER_URL"


@dataclass
class ConformanceHarness:
    """The service on one broker, with the expected and actual counts of its messages.

    Attributes:
        broker: The broker, with the environment of the service's processes.
        app: The app in the test process, which publishes.
        counts: Expected and actual copies and runs.
        folder: The working directory of the processes.
        proxy: The proxy between publishers and broker; None if the broker is not a
            server.
        worker_proxy: The proxy between worker and broker; None as above.
        worker: The worker, once it runs.
        work_queues: The queues that the worker consumes.
    """

    broker: Broker
    app: Celery
    counts: DeliveryCounts
    folder: Path
    proxy: Proxy | None = None
    worker_proxy: Proxy | None = None
    worker: Process | None = None
    work_queues: tuple[str, ...] = WORK_QUEUES

    @property
    def copies_when_scheduled(self) -> int:
        """The number of copies of a task with an ETA.

        RabbitMQ's native delays deliver one when the task is scheduled, and one when it
        is due.
        """
        return 2 if self.broker.name == "quorum" else 1

    def expect(
        self, *ids: str, retries: int = 0, runs: int = 1, scheduled: bool = False
    ) -> None:
        """Expect one attempt of each task.

        Args:
            ids: The ids of the tasks.
            retries: The number of the attempt, from 0.
            runs: How often the attempt runs; 0 if it must not.
            scheduled: Whether the tasks have an ETA.
        """
        copies = self.copies_when_scheduled if scheduled else 1
        for id in ids:
            self.counts.expect(Attempt(id, retries), copies=copies, runs=runs)

    def settle(self) -> None:
        """Wait for the expected copies and runs, and check that there are no others."""
        self.counts.wait()
        # Once these tasks have run, so has every message that was queued before them.
        self.flush()
        self.counts.check()

    def flush(self) -> set[str]:
        """Send a task to each work queue, and wait until all of them have run."""
        ids = {
            self.app.send_task("export.echo", [0], queue=name).id
            for name in self.work_queues
        }
        self.expect(*ids)
        self.counts.wait()
        return ids

    @contextmanager
    def running(self, *command: str, ready: str) -> Iterator[Process]:
        """Run a Celery command, and enter the block once it has written `ready`."""
        environment = dict(self.broker.environment)
        if command[0] == "worker" and self.worker_proxy is not None:
            environment[URL] = proxied_url(environment[URL], self.worker_proxy)
        with running(
            [*CELERY, *command],
            folder=self.folder,
            environment=environment,
            name=command[0],
            timeout_s=60,
        ) as process:
            process.wait_for(ready, timeout_s=60)
            yield process


@contextmanager
def open_conformance_harness(
    request: pytest.FixtureRequest,
    folder: Path,
    name: str,
    *,
    topology: str = "names",
) -> Iterator[ConformanceHarness]:
    """Yield the service, without a worker, on a broker.

    Args:
        folder: An empty folder.
        name: The broker, one of `ALL_BROKERS`.
        topology: The queues, a key of `TOPOLOGIES`.
    """
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        broker, direct_url, proxies = _open(request, folder, name, stack)
        journal = folder / "journal"
        broker.environment[EXECUTIONS] = str(journal)
        broker.environment[TOPOLOGY] = topology
        for variable, value in broker.environment.items():
            monkeypatch.setenv(variable, value)
        app = make_service()
        stack.callback(app.close)
        upgrade(app.conf.result_backend)
        connection = stack.enter_context(app.connection_for_read(direct_url))
        monitor = app.amqp.queues["platform.fifo"](connection.default_channel)
        yield ConformanceHarness(
            broker, app, DeliveryCounts(monitor, journal), folder, *proxies
        )


def _open(
    request: pytest.FixtureRequest, folder: Path, name: str, stack: ExitStack
) -> tuple[Broker, str | None, tuple[Proxy | None, Proxy | None]]:
    """Return a broker, its URL without a proxy, and the proxies in front of it."""
    if name == "filesystem":
        return folder_broker(folder / ".workertoolbox"), None, (None, None)
    if name == "sqlalchemy":
        return database_broker(folder), None, (None, None)
    server: BrokerServer = request.getfixturevalue(SERVER_FIXTURES[name])
    databases: PostgreSQL = request.getfixturevalue("postgresql")
    access = stack.enter_context(server.access())
    at = Connection(access.url).info()
    proxy, worker_proxy = (
        stack.enter_context(run_proxy(at["hostname"], at["port"])) for _ in range(2)
    )
    proxied = replace(access, url=proxied_url(access.url, proxy))
    database = stack.enter_context(databases.database())
    return (
        server_broker(name, proxied, database=database),
        access.url,
        (proxy, worker_proxy),
    )
