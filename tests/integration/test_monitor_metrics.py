"""A monitor reports its throughput in log lines and in metrics for Prometheus."""

from __future__ import annotations

import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from celery import Celery, states
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, select

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import quarantine, taskmeta
from servers.ports import HOST, free_ports
from support.brokers import Broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, running
from support.task_commands import run_monitor

#: Runs a monitor that logs a line twice a second.
FREQUENT_REPORTS = """\
import logging, sys
sys.path.append(sys.argv[1])
from cadasta.workertoolbox.results import Monitor
from echo_service import app

logging.basicConfig(level="INFO")
Monitor(app, report_s=0.5).run()
"""

pytestmark = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


def publish_malformed_task(app: Celery) -> None:
    """Publish a task with a header that the monitor refuses."""
    app.send_task("export.echo", headers={"retries": -1})


def test_log_lines_report_the_messages_written(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    for number in range(3):
        app.send_task("export.echo", [number])
    publish_malformed_task(app)
    with running(
        [sys.executable, "-c", FREQUENT_REPORTS, SERVICE_FOLDER],
        folder=tmp_path,
        environment=broker.environment,
        # This program does not handle signals.
        stop_signal=signal.SIGKILL,
    ) as process:
        line = re.compile(
            r"(\d+) messages in [01] s \(([\d.]+)/s\), (\d+) batches, "
            r"(\d+) quarantined, lag ([\d.]+) s"
        )

        def sums() -> list[float]:
            found = [map(float, each) for each in line.findall(process.text)]
            return [sum(column) for column in zip(*found, strict=True)]

        wait_until(lambda: sums()[:1] == [4])
        process.wait_for("0 messages in ")
        messages, rate, batches, quarantined, lag_s = sums()

    assert (messages, quarantined) == (4, 1)
    assert rate > 0
    assert 1 <= batches <= 4
    assert 0 < lag_s < 60


def scrape_metrics(port: int) -> dict[tuple[str, ...], float]:
    """Return the metrics of the toolbox by their name and their sorted labels."""
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as response:
        families = text_string_to_metric_families(response.read().decode())
        return {
            (
                sample.name.removeprefix("workertoolbox_"),
                *(value for _, value in sorted(sample.labels.items())),
            ): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("workertoolbox_")
        }


def test_the_metrics_report_messages_written_and_the_fleet(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    done, *_ = [app.send_task("export.echo", [number]).id for number in range(3)]
    publish_malformed_task(app)
    ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=10)
    success = {"status": states.SUCCESS, "date_done": ago}
    with store.engine.begin() as connection:
        connection.execute(
            insert(taskmeta),
            [{"task_id": id, **success} for id in (done, "lost 1", "lost 2")],
        )
    [port] = free_ports(1)
    ended = ("tasks_ended_total", "export.echo", "SUCCESS")
    with run_monitor(
        broker.environment, tmp_path, "--prometheus", f"{HOST}:{port}"
    ) as process:
        wait_until(lambda: (len(store.list()), count_quarantined(store)) == (3 + 2, 1))
        wait_until(lambda: ended in scrape_metrics(port), timeout_s=30)
        seen = scrape_metrics(port)
        exit_code = process.stop()

    assert exit_code == 0
    assert seen["messages_stored_total",] == 3
    assert seen["messages_quarantined_total",] == 1
    assert seen["batch_seconds_count",] >= 1
    assert seen["lag_seconds_bucket", "60.0"] == seen["lag_seconds_count",] >= 1
    assert seen["recent_untracked",] == 2
    assert seen["database_up",] == 1
    assert time.time() - seen["read_until_timestamp_seconds",] < 60


def count_quarantined(store: TaskStore) -> int:
    """Return the number of quarantined messages."""
    with store.engine.connect() as connection:
        return len(list(connection.execute(select(quarantine.c.id))))
