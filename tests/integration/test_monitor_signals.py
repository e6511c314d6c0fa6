"""Signals stop a monitor during outages."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import text

from cadasta.workertoolbox.results import TaskStore
from support.broker_proxy import proxied_broker
from support.brokers import Broker
from support.polling import wait_until
from support.task_commands import run_monitor

#: Runs Celery's command line; each random delay is a minute.
LONG_DELAYS = """\
import random, sys
from celery.__main__ import main

random.uniform = lambda low, high: 60.0
sys.exit(main())
"""

pytestmark = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


def test_a_monitor_that_reconnects_to_its_broker_can_be_stopped(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    with proxied_broker(broker) as (proxy, environment):
        with run_monitor(environment, tmp_path) as process:
            process.wait_for("copying tasks")
            proxy.refuse_connections()
            proxy.cut()
            wait_until(lambda: process.text.count("broker unavailable") >= 4)
            exit_code = process.stop()

    assert exit_code == 0


def test_a_monitor_in_a_long_wait_between_retries_can_be_stopped(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    with proxied_broker(broker) as (proxy, environment):
        program = ("-c", LONG_DELAYS)
        with run_monitor(environment, tmp_path, program=program) as process:
            process.wait_for("copying tasks")
            proxy.refuse_connections()
            proxy.cut()
            process.wait_for("broker unavailable")
            # Within less than a wait.
            exit_code = process.stop(timeout_s=30)

    assert exit_code == 0


def test_a_second_signal_ends_a_monitor_that_waits_for_the_database(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        with store.engine.begin() as connection:
            connection.execute(text("LOCK TABLE workertoolbox_task"))
            app.send_task("export.echo", [1])
            wait_until(lambda: find_blocked_locks(store))
            process.popen.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout_s=2)
            # The lock is held until it has ended.
            exit_code = process.stop()

    assert exit_code == 128 + signal.SIGTERM


def find_blocked_locks(store: TaskStore) -> list[Any]:
    """Return a row for each lock on a table that a statement waits for."""
    with store.engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
                )
            )
        )
