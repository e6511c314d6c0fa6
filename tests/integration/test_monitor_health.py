"""The health file of a monitor."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from celery import Celery

from cadasta.workertoolbox.results import TaskStore
from servers.postgresql import refuse_connections
from support.broker_proxy import proxied_broker
from support.brokers import Broker
from support.polling import wait_until
from support.task_commands import run_monitor

#: Seconds after which the file is stale; a healthy monitor touches it every two.
STALE_S = 5.0

pytestmark = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


def age_s(path: Path) -> float:
    """Return the seconds since a file was touched."""
    return time.time() - path.stat().st_mtime


def test_the_health_file_is_not_touched_during_outages_and_is_removed_at_the_end(
    app: Celery, broker: Broker, store: TaskStore, tmp_path: Path
) -> None:
    file = tmp_path / "healthy"
    with proxied_broker(broker) as (proxy, environment):
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
