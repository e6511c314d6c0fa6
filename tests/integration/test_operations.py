"""What those who operate a monitor see of it, and how they end it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from celery import Celery, states
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, select, text

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._database.tables import quarantine, taskmeta
from servers.ports import HOST, free_ports
from servers.postgresql import refuse_connections
from support.brokers import Broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, running
from support.proxy import Proxy, run_proxy
from support.task_commands import run_monitor

#: Seconds after which a file is old that is touched every two.
STALE_S = 5.0

#: A monitor that writes a line twice a second.
TALKATIVE = """\
import logging, sys
sys.path.append(sys.argv[1])
from cadasta.workertoolbox.results import Monitor
from echo_service import app

logging.basicConfig(level="INFO")
Monitor(app, report_s=0.5).run()
"""

#: Celery's command line where every wait that is drawn is a minute.
UNLUCKY = """\
import random, sys
from celery.__main__ import main

random.uniform = lambda low, high: 60.0
sys.exit(main())
"""

pytestmark = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


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
        [sys.executable, "-c", TALKATIVE, SERVICE_FOLDER],
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

        wait_until(lambda: sums()[:1] == [4])
        process.wait_for("0 messages in ")
        messages, rate, batches, quarantined, lag_s = sums()

    assert (messages, quarantined) == (4, 1)
    assert rate > 0
    assert 1 <= batches <= 4
    assert 0 < lag_s < 60


@contextmanager
def far_away(broker: Broker) -> Iterator[tuple[Proxy, Mapping[str, str]]]:
    """Yield what is between a broker and the processes of an environment."""
    url = urlsplit(broker.environment["WORKERTOOLBOX_BROKER_URL"])
    assert url.hostname and url.port
    with run_proxy(url.hostname, url.port) as proxy:
        netloc = url.netloc.replace(f":{url.port}", f":{proxy.port}")
        far = url._replace(netloc=netloc).geturl()
        yield proxy, {**broker.environment, "WORKERTOOLBOX_BROKER_URL": far}


def test_a_health_file_grows_old_during_an_outage_and_goes_at_the_end(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    file = tmp_path / "healthy"
    with far_away(broker) as (proxy, environment):
        with run_monitor(environment, tmp_path, "--health-file", file) as process:
            wait_until(file.exists)
            store.close()
            with refuse_connections(store.engine.url):
                wait_until(lambda: age_s(file) > STALE_S)
            wait_until(lambda: age_s(file) < STALE_S)
            proxy.refuse_connections()
            proxy.cut()
            wait_until(lambda: age_s(file) > STALE_S)
            proxy.accept_connections()
            wait_until(lambda: age_s(file) < STALE_S)
            exit_code = process.stop()

    assert exit_code == 0
    assert not file.exists()


def test_a_monitor_whose_broker_is_away_tries_again_and_stops_soon(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    with far_away(broker) as (proxy, environment):
        with run_monitor(environment, tmp_path) as process:
            process.wait_for("copying tasks")
            proxy.refuse_connections()
            proxy.cut()
            wait_until(
                lambda: process.text.count("broker unavailable") >= 4, timeout_s=12
            )
            exit_code = process.stop(timeout_s=4)

    assert exit_code == 0


def test_a_monitor_that_waits_long_for_another_try_stops_soon(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    with far_away(broker) as (proxy, environment):
        program = ("-c", UNLUCKY)
        with run_monitor(environment, tmp_path, program=program) as process:
            process.wait_for("copying tasks")
            proxy.refuse_connections()
            proxy.cut()
            process.wait_for("broker unavailable")
            exit_code = process.stop(timeout_s=4)

    assert exit_code == 0


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Return the value of each metric of ours, by its name and its labels in order."""
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (
                sample.name.removeprefix("workertoolbox_"),
                *(value for _, value in sorted(sample.labels.items())),
            ): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("workertoolbox_")
        }


def test_prometheus_sees_what_was_written_and_what_the_database_has(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    done, *_ = [app.send_task("export.echo", [number]).id for number in range(3)]
    app.send_task("msg.notify")
    app.send_task("msg.notify", countdown=3600)
    send_unreadable(app)
    ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=10)
    success = {"status": states.SUCCESS, "date_done": ago}
    with store.engine.begin() as connection:
        connection.execute(
            insert(taskmeta),
            [{"task_id": id, **success} for id in (done, "lost 1", "lost 2")],
        )
    [port] = free_ports(1)
    with run_monitor(
        broker.environment, tmp_path, "--prometheus", f"{HOST}:{port}"
    ) as process:
        wait_until(lambda: (len(store.list()), unread(store)) == (5 + 2, 1))
        wait_until(lambda: scraped(port)["messages_quarantined_total",] == 1)
        seen = scraped(port)
        exit_code = process.stop()

    assert exit_code == 0
    assert seen["messages_stored_total",] == 5
    assert seen["messages_quarantined_total",] == 1
    assert seen["batch_seconds_count",] >= 1
    assert seen["lag_seconds_bucket", "60.0"] == seen["lag_seconds_count",] >= 1
    assert {key[1:]: n for key, n in seen.items() if key[0] == "recent_tasks"} == {
        ("export", "SUCCESS"): 1,
        ("export", "QUEUED"): 2,
        ("msg", "QUEUED"): 1,
        ("msg", "SCHEDULED"): 1,
    }
    assert seen["recent_untracked",] == 2
    assert seen["database_up",] == 1


def unread(store: TaskStore) -> int:
    with store.engine.connect() as connection:
        return len(list(connection.execute(select(quarantine.c.id))))


def test_prometheus_is_answered_while_the_database_is_away(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    with run_monitor(
        broker.environment, tmp_path, "--prometheus", str(port)
    ) as process:
        process.wait_for("copying tasks")
        store.close()
        with refuse_connections(store.engine.url):
            seen = scraped(port)
        back = scraped(port)

    assert seen["database_up",] == 0
    assert back["database_up",] == 1


def test_a_second_signal_ends_a_monitor_whose_database_says_nothing(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        with store.engine.begin() as connection:
            connection.execute(text("LOCK TABLE workertoolbox_task"))
            app.send_task("export.echo", [1])
            wait_until(lambda: waits_for_lock(store))
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
