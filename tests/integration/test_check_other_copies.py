"""`tasks check` after the monitor queue has got another name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import setup_app
from support.checkups import configured_app, run_check
from support.task_commands import call_tasks_command

FORMER = "platform.fifo"

#: The variable that gives the monitor queue another name.
RENAMED = {"platform_queue_name": "audit.fifo"}

BROKERS = ["rabbitmq", "redis", "sqs", "filesystem"]


@pytest.mark.parametrize("name", BROKERS)
def test_a_monitor_queue_that_was_renamed_is_a_warning(
    declared_app: Callable[[str], Celery], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    app = declared_app(name)
    for number in range(3):
        app.send_task("export.echo", [number])
    with configured_app(monkeypatch, **RENAMED) as renamed:
        setup_app(renamed)
        checked = run_check(renamed)

    warned = checked.details("warning")["other copies"]
    assert f"'{FORMER}'" in warned and "holds 3 messages" in warned
    assert f"PLATFORM_QUEUE_NAME='{FORMER}'" in checked.advice("other copies")
    assert list(checked.details("failed")) == ["monitor"]


@pytest.mark.parametrize("name", ["redis", "filesystem"])
def test_any_former_name_is_found_where_bindings_can_be_listed(
    declared_app: Callable[[str], Celery], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    app = declared_app(name)
    with configured_app(monkeypatch, **RENAMED) as former:
        setup_app(former)
        former.send_task("export.echo", [1])
    checked = run_check(app)

    warned = checked.details("warning")["other copies"]
    assert "'audit.fifo' is bound to 'task_exchange' by '#'" in warned
    assert "holds 1 message," in warned


@pytest.mark.parametrize("name", BROKERS)
def test_a_former_monitor_queue_is_no_warning_after_it_was_deleted(
    declared_app: Callable[[str], Celery], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    app = declared_app(name)
    app.send_task("export.echo", [1])
    with configured_app(monkeypatch, **RENAMED) as renamed:
        setup_app(renamed)
        # As the README of conf says; a monitor has not read the copy.
        call_tasks_command(renamed, "leave", "--queue", FORMER, "--yes", "--force")
        checked = run_check(renamed)

    assert "other copies" in checked.details("ok")


@pytest.mark.parametrize("name", BROKERS)
def test_the_other_queues_of_services_are_no_former_monitor_queues(
    declared_app: Callable[[str], Celery], name: str
) -> None:
    app = declared_app(name)
    app.send_task("export.echo", [1])

    assert "other copies" in run_check(app).details("ok")
