"""What those who operate a monitor see of it, and how they end it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery
from sqlalchemy import text

from cadasta.workertoolbox.results import TaskStore, upgrade
from integration.brokers import Broker
from integration.fleet import make_app
from integration.proxy import proxied
from polling import eventually
from processes import Process, running
from servers.postgresql import away

HERE = Path(__file__).parent

#: Seconds after which a file is old that is touched every two.
STALE_S = 5.0

#: A monitor that writes a line twice a second.
TALKATIVE = """\
import logging, sys
sys.path.append(sys.argv[1])
from cadasta.workertoolbox.results import Monitor
from fleet import app

logging.basicConfig(level="INFO")
Monitor(app, report_s=0.5).run()
"""

pytestmark = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


@pytest.fixture
def app(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    for name, value in broker.environment.items():
        monkeypatch.setenv(name, value)
    app = make_app()
    upgrade(app.conf.result_backend)
    yield app
    app.close()


@pytest.fixture
def store(app: Celery) -> Iterator[TaskStore]:
    with TaskStore.for_app(app) as store:
        yield store


def monitor(
    environment: Mapping[str, str], folder: Path, *options: str | Path
) -> AbstractContextManager[Process]:
    command = [sys.executable, "-m", "celery", "-A", "fleet", "--workdir", str(HERE)]
    return running(
        [*command, "tasks", "monitor", *options],
        folder=folder,
        environment=environment,
        name="monitor",
        timeout_s=10,
    )


def send_unreadable(app: Celery) -> None:
    app.send_task("export.echo", headers={"retries": -1})


def age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def test_lines_of_the_log_tell_what_was_written(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    for number in range(3):
        app.send_task("export.echo", [number])
    send_unreadable(app)
    with running(
        [sys.executable, "-c", TALKATIVE, HERE],
        folder=tmp_path,
        environment=broker.environment,
        # It has no handler of signals, as a program of one's own.
        stop_signal=signal.SIGKILL,
    ) as process:
        line = re.compile(
            r"(\d+) messages in [01] s \(([\d.]+)/s\), (\d+) batches, "
            r"(\d+) quarantined, lag ([\d.]+) s"
        )

        def sums() -> list[float]:
            found = [map(float, each) for each in line.findall(process.text)]
            return [sum(column) for column in zip(*found, strict=True)]

        eventually(lambda: sums()[:1] == [4])
        process.wait_for("0 messages in ")
        messages, rate, batches, quarantined, lag_s = sums()

    assert (messages, quarantined) == (4, 1)
    assert rate > 0
    assert 1 <= batches <= 4
    assert 0 < lag_s < 60


def test_a_health_file_grows_old_during_an_outage_and_goes_at_the_end(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    url = urlsplit(broker.environment["WORKERTOOLBOX_BROKER_URL"])
    assert url.hostname and url.port
    file = tmp_path / "healthy"
    with proxied(url.hostname, url.port) as proxy:
        netloc = url.netloc.replace(f":{url.port}", f":{proxy.port}")
        far = url._replace(netloc=netloc).geturl()
        environment = {**broker.environment, "WORKERTOOLBOX_BROKER_URL": far}
        with monitor(environment, tmp_path, "--health-file", file) as process:
            eventually(file.exists)
            store.close()
            with away(store.engine.url):
                eventually(lambda: age_s(file) > STALE_S)
            eventually(lambda: age_s(file) < STALE_S)
            proxy.refuse()
            proxy.cut()
            eventually(lambda: age_s(file) > STALE_S)
            proxy.accept()
            eventually(lambda: age_s(file) < STALE_S)
            exit_code = process.stop()

    assert exit_code == 0
    assert not file.exists()


def test_a_second_signal_ends_a_monitor_whose_database_says_nothing(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        with store.engine.begin() as connection:
            connection.execute(text("LOCK TABLE workertoolbox_task"))
            app.send_task("export.echo", [1])
            eventually(lambda: waits_for_lock(store))
            process.popen.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout_s=2)
            exit_code = process.stop(timeout_s=2)

    assert exit_code == 128 + signal.SIGTERM


def waits_for_lock(store: TaskStore) -> list[Any]:
    with store.engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
                )
            )
        )
