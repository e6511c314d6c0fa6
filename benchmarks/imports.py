"""What the toolbox adds to the start time and the memory of a process.

A producer creates its app and publishes one task; a worker starts until it is ready.
Both are compared with plain Celery on the same broker, RabbitMQ, and with results in
the same database through Celery's own backend, `db+…`. The producer with the routing
package alone has no result backend, on either side. A producer with `Config` is also
compared with plain Celery without a result backend; the difference is mostly
SQLAlchemy, which Celery loads with the backend when it publishes.

Time is measured from outside, from the start of the process to its end or to the line
that says it is ready. Memory is the proportional set size of the process with its
children, so that shared pages count once; of a producer it is the peak of its
resident set (`VmHWM`). An editable install makes Python search more places, so measure
the wheels: `hatch run wheels:bench imports`.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, truediv
from pathlib import Path

from cadasta.workertoolbox.results import upgrade
from measuring.figures import Row, compared
from servers import postgresql, rabbitmq

#: Rounds that count, after one that warms the file caches.
ROUNDS = 15

#: The settings of each app, as source code in which `broker` and `database` are URLs.
APPS = {
    "Celery": "dict(broker_url=broker)",
    "Routing": "Routing(['export'], broker_url=broker)",
    "Celery with db+": "dict(broker_url=broker, result_backend='db+' + database)",
    "Config": (
        "Config(['export'], broker_url=broker,"
        " result_backend='workertoolbox+' + database)"
    ),
}

#: What each app imports in addition to Celery.
IMPORTS = {
    "Routing": "from cadasta.workertoolbox.routing import Routing",
    "Config": "from cadasta.workertoolbox.conf import Config",
}

#: The module of a service. As a program it publishes a task and prints its peak memory.
SERVICE = """\
import json, os
from celery import Celery
{imports}
broker, database = json.loads(os.environ["URLS"])
app = Celery("export")
app.config_from_object({settings})

@app.task(name="export.survey")
def survey(number):
    return number

if __name__ == "__main__":
    survey.delay(1)
    status = dict(line.split(":") for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) * 1024)
"""

#: The process, our app, and the app that it is compared with.
COMPARISONS = (
    ("producer", "Routing", "Celery"),
    ("producer", "Config", "Celery with db+"),
    ("producer", "Config", "Celery"),
    ("worker", "Routing", "Celery"),
    ("worker", "Config", "Celery with db+"),
)

#: The line that a worker writes when it has connected and forked.
READY = b" ready."


@dataclass(frozen=True)
class Start:
    """One start of a process.

    Attributes:
        seconds: The time until it ended or was ready.
        megabytes: The memory that it used.
    """

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Service:
    """A module in a folder of its own, on a broker and a database of its own."""

    folder: Path
    urls: tuple[str, str]

    def start_producer(self) -> Start:
        """Run the program to its end."""
        started = time.perf_counter()
        process = self._open(sys.executable, "service.py")
        output, errors = process.communicate()
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(errors.decode(errors="replace"))
        return Start(seconds, int(output) / 1e6)

    def start_worker(self) -> Start:
        """Run a worker until it is ready."""
        celery = [sys.executable, "-m", "celery", "-A", "service", "worker"]
        started = time.perf_counter()
        process = self._open(*celery, "-c", "1", "-l", "INFO")
        try:
            for line in process.stderr or ():
                if READY in line:
                    seconds = time.perf_counter() - started
                    return Start(seconds, _memory_of_tree(process.pid) / 1e6)
            raise SystemExit(f"the worker in {self.folder} ended before it was ready")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()

    def _open(self, *command: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "URLS": json.dumps(self.urls)}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def measure() -> Iterator[Row]:
    """Yield the ratios."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.serve(Path(folder)) as broker,
        postgresql.serve(lambda url: None) as databases,
    ):
        for kind, ours, theirs in COMPARISONS:
            with (
                _service(Path(folder), ours, broker, databases) as our_service,
                _service(Path(folder), theirs, broker, databases) as their_service,
            ):
                yield from _compare(kind, (ours, our_service), (theirs, their_service))


@contextmanager
def _service(
    parent: Path,
    name: str,
    broker: rabbitmq.RabbitMQ | rabbitmq.ExternalRabbitMQ,
    databases: postgresql.PostgreSQL,
) -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory(dir=parent) as folder,
        broker.access() as access,
        databases.database() as database,
    ):
        upgrade(database)
        source = SERVICE.format(imports=IMPORTS.get(name, ""), settings=APPS[name])
        Path(folder, "service.py").write_text(source, "utf-8")
        yield Service(Path(folder), (access.url, database))


def _compare(
    kind: str, ours: tuple[str, Service], theirs: tuple[str, Service]
) -> Iterator[Row]:
    """Start both in turn, and yield the medians of the ratios of each pair."""
    start: Callable[[Service], Start] = (
        Service.start_producer if kind == "producer" else Service.start_worker
    )
    our: list[Start] = []
    their: list[Start] = []
    for number in range(ROUNDS + 1):
        pair = [(ours[1], our), (theirs[1], their)]
        for service, starts in pair if number % 2 else reversed(pair):
            starts.append(start(service))
    # The first round warmed the caches.
    del our[0], their[0]
    for unit, format in (("seconds", "{:.2f} s"), ("megabytes", "{:.1f} MB")):
        value = attrgetter(unit)
        ratio = statistics.median(map(truediv, map(value, our), map(value, their)))
        shown, others = (
            format.format(statistics.median(map(value, each))) for each in (our, their)
        )
        title = f"{kind} with {ours[0]}, {unit}"
        yield compared(title, shown, f"{theirs[0]} {others}", f"{ratio:.2f} ×")


def _memory_of_tree(pid: int) -> int:
    """Return the proportional set size in bytes of a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(own.split()[1]) * 1024 + sum(map(_memory_of_tree, map(int, children)))
