"""A running `chord_service`, and the messages, runs and errbacks of its tasks."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery import Celery
from celery.result import AsyncResult, GroupResult
from kombu import Connection, Queue

from cadasta.workertoolbox.results import upgrade
from servers.access import BrokerServer
from servers.postgresql import PostgreSQL
from support.brokers import Broker, folder_broker, server_broker
from support.chord_service import FOLDER, JOURNAL, make_service
from support.conformance_harness import URL
from support.polling import wait_until
from support.processes import Process, running
from support.proxy import Proxy, proxied_url, run_proxy

TESTS_FOLDER = Path(__file__).parent.parent
CELERY = [sys.executable, "-m", "celery", "-A", "support.chord_service"]
CELERY += ["--workdir", str(TESTS_FOLDER)]

#: The command of a worker, without the steps that only delay its start.
WORKER = ("worker", "--without-gossip", "--without-mingle", "-l", "INFO")

#: The queues of the workers that all tests share.
SHARED_QUEUES = "celery,export"

#: The queue of workers that a test kills.
ACCIDENT_QUEUE = "msg"

#: Seconds to wait for an expected event; much longer than it takes.
TIMEOUT_S = 60.0


class Message(NamedTuple):
    """A published message, as read from the monitor queue."""

    task: str
    id: str
    retries: int


@dataclass
class ChordHarness:
    """The service on one broker.

    Attributes:
        app: The app in the test process, which publishes.
        broker: The broker, with the environment of the service's processes.
        folder: The working directory of the processes, with their journal and flags.
        monitor: The monitor queue, bound to a channel.
        proxy: The proxy in front of the broker; None if the broker is not a server.
        published: The messages read from the monitor queue so far.
    """

    app: Celery
    broker: Broker
    folder: Path
    monitor: Queue
    proxy: Proxy | None = None
    published: Counter[Message] = field(default_factory=Counter)

    @contextmanager
    def worker(
        self, *arguments: str, queues: str = ACCIDENT_QUEUE, through_proxy: bool = False
    ) -> Iterator[Process]:
        """Run a worker, and enter the block when it is ready."""
        environment = dict(self.broker.environment)
        if through_proxy:
            assert self.proxy is not None
            environment[URL] = proxied_url(environment[URL], self.proxy)
        with running(
            [*CELERY, *WORKER, "-n", f"{len(os.listdir(self.folder))}@%h"]
            + ["-Q", queues, *(arguments or ("-c", "2"))],
            folder=self.folder,
            environment=environment,
            name="worker",
            timeout_s=TIMEOUT_S,
        ) as process:
            process.wait_for("ready.", timeout_s=TIMEOUT_S)
            yield process

    def journal(self) -> list[list[str]]:
        """Return the words of each line that the workers wrote."""
        file = self.folder / JOURNAL
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return [line.split() for line in lines]

    def runs(self, id: str) -> int:
        """Return how many runs of a task have started."""
        return sum(words[:2] == ["begin", id] for words in self.journal())

    def ends(self, id: str) -> int:
        """Return how many runs of a task have ended."""
        return sum(words[:2] == ["end", id] for words in self.journal())

    def publications(self, id: str) -> int:
        """Return how many messages of a task have been published."""
        while (message := self.monitor.get()) is not None:
            message.ack()
            headers: dict[str, Any] = message.headers
            sent = Message(headers["task"], headers["id"], headers["retries"])
            self.published[sent] += 1
        return sum(n for sent, n in self.published.items() if sent.id == id)

    def errbacks(self, key: str) -> list[str]:
        """Return the ids of the tasks that an errback was called for."""
        return [w[1] for w in self.journal() if w[0] == "errback" and w[2] == key]

    def settle(self) -> None:
        """Wait until no task runs, except in processes that died."""

        def check() -> bool:
            running = Counter[tuple[str, str]]()
            for event, id, process, *_ in filter(_is_about_a_run, self.journal()):
                running[id, process] += 1 if event == "begin" else -1
            alive = [run for run in running.elements() if _is_alive(int(run[1]))]
            assert not alive, f"running (task, process): {alive}"
            return True

        wait_until(check, timeout_s=TIMEOUT_S)

    def value(self, result: AsyncResult[Any] | GroupResult) -> Any:
        """Wait for a body, check that it ran once, and return its value or error."""
        # With `propagate`, `get` would also raise errors of tasks in the header.
        value = result.get(timeout=TIMEOUT_S, propagate=False)
        self.settle()
        for id in _ids_of(result):
            assert self.publications(id) == 1, f"publications of body {id}"
            assert self.runs(id) == 1, f"runs of body {id}"
        return value

    def failure(self, result: AsyncResult[Any] | GroupResult) -> Any:
        """Wait for a body to fail, check that it never ran, and return its error."""
        error = result.get(timeout=TIMEOUT_S, propagate=False)
        self.settle()
        for id in _ids_of(result):
            assert self.publications(id) == 0, f"publications of body {id}"
            assert self.runs(id) == 0, f"runs of body {id}"
        return error


@contextmanager
def open_chord_harness(
    request: pytest.FixtureRequest, folder: Path
) -> Iterator[ChordHarness]:
    """Yield the service, without workers, on the broker of a fixture's parameter.

    Args:
        folder: An empty folder.
    """
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        broker, proxy = _open(request, folder, stack)
        broker.environment[FOLDER] = str(folder)
        for variable, value in broker.environment.items():
            monkeypatch.setenv(variable, value)
        app = make_service()
        stack.callback(app.close)
        upgrade(app.conf.result_backend)
        connection = stack.enter_context(app.connection_for_read())
        monitor = app.amqp.queues["platform.fifo"](connection.default_channel)
        monitor.declare()
        yield ChordHarness(app, broker, folder, monitor, proxy)


def _open(
    request: pytest.FixtureRequest, folder: Path, stack: ExitStack
) -> tuple[Broker, Proxy | None]:
    name: str = request.param
    if name == "filesystem":
        return folder_broker(folder / ".workertoolbox"), None
    server: BrokerServer = request.getfixturevalue(name)
    databases: PostgreSQL = request.getfixturevalue("postgresql")
    access = stack.enter_context(server.access())
    at = Connection(access.url).info()
    proxy = stack.enter_context(run_proxy(at["hostname"], at["port"]))
    database = stack.enter_context(databases.database())
    return server_broker(name, access, database=database), proxy


def header_of(body: AsyncResult[Any] | GroupResult) -> list[AsyncResult[Any]]:
    """Return the results of the header of a chord."""
    header: Any = body.parent
    return list(header.results)


def _ids_of(body: AsyncResult[Any] | GroupResult) -> list[str]:
    if isinstance(body, GroupResult):
        return [id for each in body.results or () for id in _ids_of(each)]
    return [str(body.id)]


def _is_about_a_run(words: list[str]) -> bool:
    return words[0] in ("begin", "end")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
