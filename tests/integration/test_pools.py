"""Every pool of Celery's runs workflows and stops in time, with and without events.

`hatch run faults --stops 100` stops a hundred workers of each kind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord, group

from support.brokers import folder_broker, open_app
from support.conformance_harness import ConformanceHarness, open_conformance_harness
from support.delivery_counts import workflow_ids
from support.processes import SERVICE_FOLDER, running
from support.sentry_service import make_app

#: Pools beside prefork, which all other tests use.
POOLS = ("gevent", "eventlet", "threads", "solo")

#: A `sitecustomize.py` for pool processes that hold the lock of their results for long
#: when they end, as on a busy machine.
SLOW_EXIT = """
import time
from billiard.connection import Connection
from billiard.pool import Worker

send_bytes, do_exit = Connection.send_bytes, Worker._do_exit

def send_slowly(self, *args):
    send_bytes(self, *args)
    time.sleep(1)

def exit_slowly(self, *args):
    Connection.send_bytes = send_slowly
    do_exit(self, *args)

Worker._do_exit = exit_slowly
"""


@pytest.fixture(scope="module", params=["rabbitmq"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConformanceHarness]:
    """The service without a worker."""
    folder = tmp_path_factory.mktemp(request.param)
    with open_conformance_harness(request, folder, request.param) as service:
        yield service


@pytest.mark.parametrize("options", [("-E",), ()], ids=["events", "quiet"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_runs_workflows_once_and_stops_warmly(
    service: ConformanceHarness, pool: str, options: tuple[str, ...]
) -> None:
    echo, total, retry = (
        service.app.tasks[name] for name in ("export.echo", "msg.total", "export.retry")
    )
    header = [echo.si(1), echo.si(2)]
    worker = ("worker", "-P", pool, "-c", "4", "-l", "INFO", *options)
    with service.running(*worker, ready="ready.") as process:
        results = [
            chain(echo.s(1), echo.s(), echo.s())(),
            group(echo.s(n) for n in range(5))(),
            chord([echo.s(n) for n in range(5)], total.s())(),
            chain(echo.s(0), chord(header, total.s()), echo.s())(),
        ]
        for result in results:
            service.expect(*workflow_ids(result))
        retried = retry.delay([0, 1])
        for retries, scheduled in enumerate([False, False, True]):
            service.expect(retried.id, retries=retries, scheduled=scheduled)
        service.settle()
        values = [result.get(timeout=60) for result in [*results, retried]]
        code = process.stop()

    assert values == [1, [0, 1, 2, 3, 4], 10, 3, 2]
    assert code == 0
    service.counts.accept_current()


def test_a_pool_without_an_event_loop_survives_a_hard_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_EXIT)
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "celery", "-A", "sentry_service"]
    options = ["--workdir", str(SERVICE_FOLDER), "worker", "-c", "1", "-l", "INFO"]
    broker = folder_broker(tmp_path / ".workertoolbox")
    with open_app(broker, make_app, monkeypatch) as app:
        app.send_task("export.hang", ["password"])
        with running(
            [*command, *options],
            folder=tmp_path,
            environment={**broker.environment, "PYTHONPATH": path},
        ) as worker:
            output = worker.wait_for("exited with 'signal")
            app.send_task("export.work").get(timeout=60)
            code = worker.stop()

    assert "exited with 'signal 15 (SIGTERM)'" in output
    assert code == 0
