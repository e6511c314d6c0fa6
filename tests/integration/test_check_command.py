"""`tasks check` of a healthy fleet, and of one whose monitor is missing or late."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from celery import Celery

from cadasta.workertoolbox.conf import setup_app
from support.brokers import Broker
from support.checkups import (
    ACTIONS,
    run_check,
    run_check_process,
    take_task_ids,
    with_database,
)
from support.polling import wait_until
from support.statements import execute
from support.task_commands import run_monitor

#: The names of the checks of queues.
QUEUES = ["queue celery", "queue export", "queue msg", "queue platform.fifo"]


def test_a_healthy_fleet_passes_and_its_tasks_stay_in_their_queues(
    app: Celery, broker: Broker, tmp_path: Path
) -> None:
    id = app.send_task("export.echo", [1]).id
    with run_monitor(broker.environment, tmp_path) as process:
        process.wait_for("copying tasks")
        checked = run_check_process(broker.environment, "--json")
        again = run_check_process(broker.environment)
        wait_until(
            lambda: "newest task" in run_check(app).details("ok").get("monitor", "")
        )
        tasks = take_task_ids(app, "export")
        output = process.text

    assert checked.exit_code == 0, checked.output
    assert again.exit_code == 0, again.output
    # The tests connect to PostgreSQL as a superuser, and run no worker.
    others = [one for one in checked.findings if one["status"] != "ok"]
    assert {one["check"] for one in others} <= {"privileges", "consumers"}
    assert {"broker", "probe", "database", "schema", "monitor"} < set(
        checked.details("ok")
    )
    assert set(QUEUES) < set(checked.details("ok"))
    assert broker.name != "sqs" or ACTIONS < set(checked.details("ok"))
    assert all(list(one) == ["check", "status", "detail", "advice"] for one in others)
    assert re.search(r"^ok +broker +\S+ answers", again.output, re.MULTILINE)
    assert re.search(r"^\d+ ok, \d warning, 0 failed, 0 skipped$", again.output, re.M)
    assert tasks == [id]
    assert "put into quarantine" not in output
    assert checked.details("ok")["quarantine"] == "messages in quarantine: 0"


def test_without_a_monitor_it_fails_and_counts_the_waiting_copies(
    app: Celery,
) -> None:
    setup_app(app)
    ids = [app.send_task("export.echo", [n]).id for n in range(3)]
    checked = run_check(app)

    assert checked.exit_code == 1
    assert list(checked.details("failed")) == ["monitor"]
    assert (
        int(re.findall(r"(\d+) waiting", checked.details("failed")["monitor"])[0]) >= 4
    )
    assert "tasks monitor" in checked.advice("monitor")
    assert sorted(take_task_ids(app, "export")) == sorted(ids)


def test_undeclared_queues_are_a_warning_and_are_not_created(
    app: Celery,
) -> None:
    first, second = run_check(app), run_check(app)

    for checked in (first, second):
        assert checked.exit_code == 0, checked.output
        assert "no monitor has run yet" in checked.details("warning")["exchange"]
        assert "tasks monitor" in checked.advice("exchange")
        assert list(checked.details("skipped")) == ["probe", "monitor"]


def test_a_slow_monitor_is_a_warning(
    declared_app: Callable[[str], Celery], database: str, tmp_path: Path
) -> None:
    app = with_database(declared_app("filesystem"), database)
    environment = {"WORKERTOOLBOX_FOLDER": str(tmp_path / "box")}
    execute(
        database,
        "INSERT INTO workertoolbox_task (id, name, queue, replaced, retries,"
        " scheduled_at, ignore_result, seen_at) VALUES ('1', 'export.echo', 'export',"
        " 0, 0, now() - interval '10 min', false, now())",
    )
    with run_monitor(environment, tmp_path) as process:
        process.wait_for("copying tasks")
        checked = run_check(app)

    assert "stored 600.0 s later" in checked.details("warning")["monitor"]


def test_an_app_without_the_toolbox_is_a_one_line_error() -> None:
    app = Celery("plain", broker="memory://", set_as_current=False)
    checked = run_check(app)

    assert checked.exit_code == 1
    assert checked.output.startswith("Error: app 'plain' is not configured")
