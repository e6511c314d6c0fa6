"""The example in `examples/export` on each broker."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from cadasta.workertoolbox.results import Task, TaskStore, upgrade
from servers.ports import HOST, free_ports
from support.brokers import Broker
from support.polling import wait_until
from support.processes import running

EXAMPLE = Path(__file__).parents[2] / "examples" / "export"
CELERY = [sys.executable, "-m", "celery", "-A", "export_service"]
CELERY += ["--workdir", str(EXAMPLE)]

#: The exported folder: small, with text, binary and nested files.
FOLDER = EXAMPLE


def test_the_whole_workflow_is_tracked_with_its_outcome(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in broker.environment.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in sys.modules if name.startswith("export_service")]:
        monkeypatch.delitem(sys.modules, name)
    from export_service.celery import app
    from export_service.client import schedule, wait
    from export_service.verification import verify
    from export_service.workflow import find_problems, planned

    upgrade(app.conf.result_backend)
    output = tmp_path / "export.zip"
    exported_at = datetime.now(UTC)
    with (
        running(
            [*CELERY, "worker", "-c", "2", "-l", "INFO"],
            folder=tmp_path,
            environment=broker.environment,
            name="worker",
            timeout_s=60,
        ),
        running(
            [*CELERY, "tasks", "monitor"],
            folder=tmp_path,
            environment=broker.environment,
            name="monitor",
        ),
        TaskStore.for_app(app) as store,
    ):
        export = schedule(app, FOLDER, output, fail=True)
        wait(app, export, timeout_s=120)

        def tracked() -> list[Task]:
            workflow = store.workflow(export.id)
            plan = planned(store.get(export.id).result)
            assert find_problems(workflow, plan) == []
            return list(workflow)

        workflow = wait_until(tracked)
    app.close()

    assert verify(output, FOLDER, exported_at=exported_at).files
    tasks = {task.name: task for task in workflow}
    assert tasks["export.project"].args == [str(FOLDER), str(output)]
    assert tasks["export.project"].kwargs == {"fail": True}
    assert tasks["export.project"].parent_id is None
    assert {tasks[name].parent_id for name in ("export.describe", "msg.remind")} == {
        export.id
    }
    assert tasks["msg.notify"].parent_id == tasks["export.bundle"].id
    assert tasks["export.describe"].queue == "export"
    assert tasks["msg.announce"].queue == "msg"
    assert tasks["msg.announce"].retries == 1
    assert tasks["msg.remind"].eta is not None
    assert tasks["msg.webhook"].status == "FAILURE"
    assert tasks["msg.webhook"].result["exc_type"] == "WebhookRefused"


def run_demo(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo of the example in a folder."""
    return subprocess.run(
        [sys.executable, str(EXAMPLE / "demo.py"), *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=300,
    )


def test_the_demo_runs_and_its_commands_show_its_tasks(tmp_path: Path) -> None:
    demo = run_demo(str(FOLDER), "--fail", folder=tmp_path)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "export.project  SUCCESS" in demo.stdout
    assert "msg.webhook  FAILURE" in demo.stdout
    assert "complete: " in demo.stdout


def test_the_demo_shows_a_week_in_web_pages_until_it_is_interrupted(
    tmp_path: Path,
) -> None:
    [port] = free_ports(1)
    address = f"{HOST}:{port}"
    demo = [sys.executable, str(EXAMPLE / "demo.py"), str(FOLDER), "--web"]
    with running(
        [*demo, "--bind", address],
        folder=tmp_path,
        name="demo",
        stop_signal=signal.SIGINT,
    ) as process:
        process.wait_for(f"http://{address} shows all tasks", timeout_s=240)
        with urlopen(f"http://{address}/tasks?query=name:export.project") as response:
            page = response.read().decode()
        children = process.descendants()
        code = process.stop()

    assert code == 0
    assert page.count("<tr id=") > 10  # The exports of a day.
    assert len(children) >= 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_the_demo_refuses_an_argument_that_is_not_a_folder(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    demo = run_demo(folder, folder=tmp_path)

    assert demo.returncode == 2
    assert demo.stderr == f"demo: '{folder}' is not a folder\n"
    assert demo.stdout == ""
