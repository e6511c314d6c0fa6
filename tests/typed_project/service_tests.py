"""The tests of a service, with the fixtures of the toolbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from celery import Celery

from cadasta.workertoolbox.conf.checkup import (
    CheckContext,
    Finding,
    Status,
    check_up,
)
from cadasta.workertoolbox.conf.testing import (
    WorkerFailed,
    assert_tracked,
    conformance,
    embedded,
    running_monitor,
    running_worker,
)
from cadasta.workertoolbox.results import Monitor, Task, TaskStore

pytest_plugins = ["cadasta.workertoolbox.conf.testing"]

TestService = conformance("service:app", skip=["test_a_chord_is_tracked"])


def test_a_report_is_tracked(
    toolbox_app: Celery, toolbox_monitor: Monitor, toolbox_store: TaskStore
) -> None:
    result = toolbox_app.send_task("export.report", [2026])

    assert_type(assert_tracked(toolbox_app, result), Sequence[Task])


def run_in_a_folder(app: Celery, folder: Any) -> None:
    """Run a service without fixtures."""
    try:
        with embedded(app, folder), running_worker(app), running_monitor(app):
            app.send_task("export.report")
    except WorkerFailed as error:
        raise SystemExit(1) from error


def check(app: Celery) -> list[Finding]:
    """Run the checks of `tasks check`."""
    found = list(check_up(CheckContext(app, ["worker"], None)))
    return [finding for finding in found if finding.status is Status.FAILED]
