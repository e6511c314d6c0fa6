"""A broker that nothing has used before, and a service on it that is counted."""

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
from support.conformance_service import EXECUTIONS, make_service
from support.delivery_counts import Attempt, DeliveryCounts
from support.processes import SERVICE_FOLDER, Process, running
from support.proxy import Proxy, proxied_url, run_proxy

CELERY = [sys.executable, "-m", "celery", "-A", "conformance_service"]
CELERY += ["--workdir", str(SERVICE_FOLDER)]

#: The work queues, each of which has to be empty before the books are compared.
WORK_QUEUES = ("celery", "export", "msg")

URL = "WORKERTOOLBOX_BROKER_URL"


@dataclass
class ConformanceHarness:
    """One service on one broker, with all that is known of its tasks.

    Attributes:
        broker: What its processes are told.
        app: The service in this process, which publishes.
        counts: What is to be and what is.
        folder: Where its processes work.
        proxy: What the publishers' connections go through, where they are any.
        worker_proxy: The same for the worker.
        worker: The worker, from when it runs.
    """

    broker: Broker
    app: Celery
    counts: DeliveryCounts
    folder: Path
    proxy: Proxy | None = None
    worker_proxy: Proxy | None = None
    worker: Process | None = None

    @property
    def copies_when_scheduled(self) -> int:
        """How many copies there are of a task with an ETA.

        RabbitMQ's delays give one when it is scheduled, and one when it is due.
        """
        return 2 if self.broker.name == "quorum" else 1

    def expect(
        self, *ids: str, retries: int = 0, runs: int = 1, scheduled: bool = False
    ) -> None:
        """Enter one attempt of each of these tasks.

        Args:
            runs: 0 for what must not be run.
            scheduled: Whether they have an ETA.
        """
        copies = self.copies_when_scheduled if scheduled else 1
        for id in ids:
            self.counts.expect(Attempt(id, retries), copies=copies, runs=runs)

    def settle(self) -> None:
        """Wait for all that is expected and what was sent beside it, and check."""
        self.counts.wait()
        # By the time that these are through, so is what lay in front of them.
        self.flush()
        self.counts.check()

    def flush(self) -> set[str]:
        """Send a task through each work queue, and wait for them."""
        ids = {
            self.app.send_task("export.echo", [0], queue=name).id
            for name in WORK_QUEUES
        }
        self.expect(*ids)
        self.counts.wait()
        return ids

    @contextmanager
    def running(self, *command: str, ready: str) -> Iterator[Process]:
        """Run a command of Celery's, from when it has written `ready`."""
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
    request: pytest.FixtureRequest, folder: Path
) -> Iterator[ConformanceHarness]:
    """Yield a service, not yet running, on the broker that a fixture's parameter names.

    Args:
        folder: A folder of its own.
    """
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        broker, direct_url, proxies = _open(request, folder, stack)
        journal = folder / "journal"
        broker.environment[EXECUTIONS] = str(journal)
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
    request: pytest.FixtureRequest, folder: Path, stack: ExitStack
) -> tuple[Broker, str | None, tuple[Proxy | None, Proxy | None]]:
    """Return a broker, its URL without a proxy, and the proxies in front of it."""
    name: str = request.param
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
    shielded = replace(access, url=proxied_url(access.url, proxy))
    database = stack.enter_context(databases.database())
    return (
        server_broker(name, shielded, database=database),
        access.url,
        (proxy, worker_proxy),
    )
