"""`celery purge` spares the monitor queue, and purged tasks are shown as ended."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states

from cadasta.workertoolbox.results import TaskStore
from support.brokers import Broker
from support.polling import wait_until
from support.processes import SERVICE_FOLDER, running
from support.task_commands import run_monitor


@pytest.mark.parametrize("is_command", [True, False], ids=["command", "call"])
def test_purged_tasks_are_shown_as_revoked(
    broker: Broker, app: Celery, store: TaskStore, tmp_path: Path, is_command: bool
) -> None:
    ids = sorted(app.send_task("export.echo", [n]).id for n in range(6))
    first, second = app.signature("export.echo", [1]), app.signature("msg.echo")
    chained: Any = (first | second).delay()
    if is_command:
        purged = run_purge_command(broker, tmp_path)
    else:
        purged = app.control.purge()
    with run_monitor(broker.environment, tmp_path):
        wait_until(lambda: len(store.list()) >= len(ids) + 2, timeout_s=60)
        found = store.list()

    assert purged == len(ids) + 1
    assert {*ids, chained.id, chained.parent.id} <= {task.id for task in found}
    for task in found:
        assert task.status == states.REVOKED
        if task.id == chained.id:
            parent = f"export.echo[{chained.parent.id}]"

            assert task.result == f"not run: {parent} was revoked"
        else:
            assert "purged from queue export" in str(task.result)


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_task_of_a_purged_message_that_runs_nevertheless_is_shown_as_run(
    app: Celery, store: TaskStore
) -> None:
    id = app.send_task("export.echo", [1]).id
    app.control.purge()
    app.backend.mark_as_done(id, 1)

    assert app.AsyncResult(id).state == states.SUCCESS


def run_purge_command(broker: Broker, folder: Path) -> int:
    """Run `celery purge` and return the number of purged messages."""
    command = [sys.executable, "-m", "celery", "-A", "echo_service"]
    with running(
        [*command, "--workdir", str(SERVICE_FOLDER), "purge", "--force"],
        folder=folder,
        environment=broker.environment,
        name="purge",
    ) as process:
        exit_code = process.wait()
    [count] = re.findall(r"Purged (\d+) message", process.text)

    assert exit_code == 0
    assert "belongs to the task monitor" in process.text
    return int(count)
