"""`conf.testing` with each broker, for the tests of a service."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from celery import Celery, chain

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf.testing import (
    assert_tracked,
    embedded,
    running_monitor,
    running_worker,
)
from support.brokers import Broker


def test_a_service_is_tested_on_a_real_broker(broker: Broker, tmp_path: Path) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], broker_url="amqp://127.0.0.1:1//"))

    @app.task(name="export.add", shared=False)
    def add(x: int) -> int:
        return x + 1

    settings = {
        name.removeprefix("WORKERTOOLBOX_").lower(): value
        for name, value in broker.environment.items()
        if not name.endswith("_FOLDER")
    }
    if "broker_transport_options" in settings:
        options = json.loads(settings.pop("broker_transport_options"))
        settings["broker_transport_options"] = options
    with (
        embedded(app, tmp_path, **settings),
        running_worker(app),
        running_monitor(app),
    ):
        result = chain(add.s(1), add.s())()

        assert result.get(timeout=30) == 3
        assert len(assert_tracked(app, result, timeout_s=30)) == 2
    used = {"broker", "results.sqlite3"} if broker.name == "filesystem" else set()
    assert {path.name for path in tmp_path.iterdir()} == used
    threads = [thread.name for thread in threading.enumerate()]
    assert [name for name in threads if name.startswith("toolbox")] == []
    assert app.conf.broker_url == "amqp://127.0.0.1:1//"
