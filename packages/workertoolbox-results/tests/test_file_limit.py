"""A monitor that may not open enough files when it starts."""

from __future__ import annotations

import gc
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery
from kombu import Queue
from test_commands import run

from cadasta.workertoolbox.results import upgrade


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """A service whose broker refuses connections, with its tables."""
    folder = tmp_path_factory.mktemp("results")
    backend = f"workertoolbox+sqlite:///{folder / 'results.sqlite3'}"
    app = Celery("export", broker="amqp://127.0.0.1:1//", backend=backend)
    app.conf.update(PLATFORM_QUEUE_NAME="monitor", task_queues=[Queue("monitor")])
    upgrade(backend)
    # These import what the monitor needs. The address is not one of this machine.
    run(app, "monitor", "--prometheus", "192.0.2.1:9187")
    run(app, "monitor")
    yield app
    app.close()


@contextmanager
def free_descriptors(count: int) -> Iterator[int]:
    """Let this process open as many files, and yield the limit."""
    gc.collect()  # Files of other tests would be closed during the block.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(each) for each in os.listdir("/dev/fd")) + 1 + count
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while len(opened) < count or max(opened) < limit - 1:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        for each in opened[len(opened) - count :]:
            os.close(each)
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in opened[: len(opened) - count]:
            os.close(each)


@pytest.mark.parametrize(
    ("count", "options", "reason"),
    [
        # Too few for the signals, the database, the broker and the metrics.
        (0, [], "Too many open files"),
        (2, [], "unable to open database file"),
        (5, [], "broker .* cannot be used: .*Too many open files"),
        (0, ["--prometheus", "9187"], "cannot listen .* Too many open files"),
    ],
)
def test_a_monitor_names_the_limit_that_keeps_it_from_starting(
    app: Celery, count: int, options: list[str], reason: str
) -> None:
    with free_descriptors(count) as limit:
        result = run(app, "monitor", *options)

    assert result.exit_code == 1
    assert result.output.startswith("Error: the monitor cannot start: the limit of ")
    assert f"limit of {limit} open files" in result.output
    assert re.search(reason, result.output)
    assert "ulimit -n" in result.output


def test_without_the_limit_the_error_is_that_of_the_broker(app: Celery) -> None:
    result = run(app, "monitor")

    assert "127.0.0.1:1// cannot be used" in result.output
    assert "ulimit" not in result.output
