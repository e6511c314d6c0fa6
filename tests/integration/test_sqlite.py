"""Several processes write to one SQLite database."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from celery import Celery, states

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import TaskStore, upgrade
from support.polling import wait_until
from support.worker_fleet import TIMEOUT_S, WorkerFleet


def test_four_worker_processes_and_a_monitor_share_an_sqlite_file(
    tmp_path: Path,
) -> None:
    app = Celery("producer", set_as_current=False)
    config = Config.embedded(["export"], tmp_path / "box", SERVICE_VERSION="2.0")
    app.config_from_object(config)
    environment = {"WORKERTOOLBOX_FOLDER": str(tmp_path / "box")}
    upgrade(app.conf.result_backend)
    fleet = WorkerFleet(app, app.conf.result_backend, environment, tmp_path)
    with ExitStack() as stack:
        store = stack.enter_context(TaskStore.for_app(app))
        stack.callback(app.close)
        processes = [
            stack.enter_context(fleet.worker("-c", "4", service_version="1.4.0")),
            stack.enter_context(fleet.command("tasks", "monitor")),
        ]
        results = fleet.publish(300)

        def look() -> bool:
            tasks = store.list(limit=1000)
            seen = Counter((task.status, task.tracked) for task in tasks)
            assert seen == {(states.SUCCESS, True): 300}, seen
            return True

        wait_until(look, timeout_s=TIMEOUT_S)
        found = {task.id: task.result for task in store.list(limit=1000)}
        releases = {each.service: each.version for each in store.releases()}
        for process in processes:
            process.stop()

    assert found == {result.id: n for n, result in enumerate(results)}
    assert releases == {"result_service": "1.4.0", "producer": "2.0"}
    for process in processes:
        assert "locked" not in process.text
        assert "Retrying" not in process.text
