"""A service for tests of chords: its workers, what it publishes, and what it runs."""

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

TESTS = Path(__file__).parent.parent
CELERY = [sys.executable, "-m", "celery", "-A", "support.chord_service"]
CELERY += ["--workdir", str(TESTS)]

#: How a worker is started, without what would only make that last longer.
WORKER = ("worker", "--without-gossip", "--without-mingle", "-l", "INFO")

#: The queues of the workers that all tests share; the other one is for workers that
#: meet an accident.
SHARED_QUEUES = "celery,export"
ACCIDENT_QUEUE = "msg"

#: Seconds until what is expected has to be there; much more than it takes.
TIMEOUT_S = 60.0


class Message(NamedTuple):
    """What was published, as the monitor queue tells."""

    task: str
    id: str
    retries: int


@dataclass
class ChordHarness:
    """The service on one broker.

    Attributes:
        app: It in this process, which publishes.
        broker: What its processes are told.
        folder: Where its processes work, and tell what they do.
        monitor: The monitor queue, bound to a channel.
        proxy: What leads to the broker, where that is a server.
        published: The messages seen in the monitor queue up to now.
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
        """Run a worker, from when it is ready."""
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
        """Return the words of each line that the workers have written."""
        file = self.folder / JOURNAL
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return [line.split() for line in lines]

    def runs(self, id: str) -> int:
        """Return how many runs of a task have begun."""
        return sum(words[:2] == ["begin", id] for words in self.journal())

    def ends(self, id: str) -> int:
        """Return how many runs of a task have ended."""
        return sum(words[:2] == ["end", id] for words in self.journal())

    def publications(self, id: str) -> int:
        """Return how many messages with a task there have been."""
        while (message := self.monitor.get()) is not None:
            message.ack()
            headers: dict[str, Any] = message.headers
            sent = Message(headers["task"], headers["id"], headers["retries"])
            self.published[sent] += 1
        return sum(n for sent, n in self.published.items() if sent.id == id)

    def errbacks(self, key: str) -> list[str]:
        """Return the ids of the tasks that an errback was called with."""
        return [w[1] for w in self.journal() if w[0] == "errback" and w[2] == key]

    def settle(self) -> None:
        """Wait until nothing runs any more, but what died."""

        def look() -> bool:
            running = Counter[tuple[str, str]]()
            for what, id, process, *_ in filter(_of_a_run, self.journal()):
                running[id, process] += 1 if what == "begin" else -1
            alive = [run for run in running.elements() if _is_alive(int(run[1]))]
            assert not alive, f"{alive} run"
            return True

        wait_until(look, timeout_s=TIMEOUT_S)

    def value(self, result: AsyncResult[Any] | GroupResult) -> Any:
        """Wait for a body that is to be started once; return its value or error."""
        # With `propagate`, what a task of the header has raised would be raised too.
        value = result.get(timeout=TIMEOUT_S, propagate=False)
        self.settle()
        for id in _ids_of(result):
            assert self.publications(id) == 1, f"publications of body {id}"
            assert self.runs(id) == 1, f"runs of body {id}"
        return value

    def failure(self, result: AsyncResult[Any] | GroupResult) -> Any:
        """Wait for a body that is not to be started to fail, and return its error."""
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
    """Yield the service, not yet running, on the broker that a parameter names.

    Args:
        folder: A folder of its own.
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


def _of_a_run(words: list[str]) -> bool:
    return words[0] in ("begin", "end")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
