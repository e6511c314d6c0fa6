"""Processes that are forked from one that has published connect for themselves."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import urlopen

import pytest
from celery import Celery

from servers.ports import HOST, free_ports, is_listening
from support import forking_service, routing_service
from support.brokers import Broker
from support.polling import wait_until
from support.processes import running
from support.queue_contents import BROKERS, QueueContents
from support.routing_processes import consume_ids, routing_app, routing_settings

#: The folder that the services import from.
TESTS = Path(__file__).parents[1]

#: The queues of a task and of its copy.
QUEUES = ("export", "platform.fifo")

#: The models of kombu's SQLAlchemy transport cause this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


@pytest.mark.parametrize("queues", BROKERS, indirect=True)
@pytest.mark.parametrize(
    ("how", "threads"), [("os.fork", 2), ("uWSGI", 0), ("multiprocessing", 2)]
)
def test_forked_processes_and_their_parent_publish_each_task_once(
    queues: QueueContents, tmp_path: Path, how: str, threads: int
) -> None:
    with running(
        [sys.executable, "-m", forking_service.__name__, how, str(threads)],
        folder=tmp_path,
        environment={
            "PYTHONPATH": str(TESTS),
            routing_service.SETTINGS: json.dumps(routing_settings(queues)),
        },
        name="forking",
    ) as process:
        code = process.wait(timeout_s=60)
        ids = sorted(line for line in process.text.splitlines() if line.count("-") == 4)

    assert code == 0
    assert len(ids) >= 4 + forking_service.CHILDREN * forking_service.TASKS
    with routing_app(queues) as app:
        found = {queue: consume_ids(app, queue, len(ids)) for queue in QUEUES}

    assert found == dict.fromkeys(QUEUES, ids)
    assert all(queues.is_empty(queue) for queue in QUEUES)


# Python 3.12 and later warn of a fork in a process with threads.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_a_child_can_publish_while_a_thread_of_the_parent_has_the_pool_of_redis(
    queues: QueueContents,
) -> None:
    is_held, is_over = Event(), Event()

    def hold(lock: AbstractContextManager[Any]) -> None:
        with lock:
            is_held.set()
            is_over.wait()

    with routing_app(queues) as app, ThreadPoolExecutor(1) as threads:
        with app.producer_pool.acquire(block=True) as producer:
            app.send_task("export.note", producer=producer)
            channel: Any = producer.channel
            held = threads.submit(hold, channel.pool._lock)
        is_held.wait()
        child = get_context("fork").Process(
            target=app.send_task, args=("export.note",), daemon=True
        )
        child.start()
        child.join(timeout=20)
        code = child.exitcode
        child.kill()
        is_over.set()
        held.result()
        child.join()

        assert code == 0
        assert len(consume_ids(app, "export", 2)) == 2


def test_the_workers_of_a_preloaded_gunicorn_publish_and_read_states(
    broker: Broker, app: Celery, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    options = ["--preload", "-w", "2", "--threads", "2", "-b", f"{HOST}:{port}"]
    service = "support.preloaded_service:application"
    answers: list[list[str]] = []

    def both_have_answered() -> bool:
        with ThreadPoolExecutor(4) as threads:
            answers.extend(threads.map(lambda _: request(port), range(20)))
        return len({process for process, *_ in answers}) == 2

    with running(
        [sys.executable, "-m", "gunicorn", *options, "--timeout", "20", service],
        folder=tmp_path,
        environment={**broker.environment, "PYTHONPATH": str(TESTS)},
        name="gunicorn",
        ready=lambda: is_listening(port),
    ):
        wait_until(both_have_answered)
    _, ids, *found = zip(*answers, strict=True)

    assert {state for states in found for state in states} == {"PENDING"}
    with app.connection_for_read() as connection:
        for name in QUEUES:
            messages = routing_service.consume(
                app, connection, name, len(ids) + 1, acknowledge=True
            )
            assert {message.headers["id"] for message in messages} > set(ids)


def request(port: int) -> list[str]:
    """Return the words of the service's answer."""
    with urlopen(f"http://{HOST}:{port}/", timeout=30) as response:
        return str(response.read().decode()).split()
