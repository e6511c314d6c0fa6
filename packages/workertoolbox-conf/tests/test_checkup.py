"""A check-up in a folder, and checks that raise an error or hang."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from kombu import Exchange, Queue

from cadasta.workertoolbox.conf import Config, commands, setup_app
from cadasta.workertoolbox.conf.checkup import CheckContext, Finding, Status, check_up
from cadasta.workertoolbox.conf.checkup._checks import Check, _run_in_time
from cadasta.workertoolbox.conf.checkup._clock import _compare
from cadasta.workertoolbox.conf.checkup._command import command
from cadasta.workertoolbox.conf.checkup._finding import failed, ok
from cadasta.workertoolbox.conf.checkup._topology import (
    _DECLARE,
    _START_MONITOR,
    _described_bindings,
    _explain_missing,
)
from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.routing import track


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    """A service in a folder, with its tables."""
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], tmp_path / "box"))
    upgrade(app.conf.result_backend)
    yield app
    app.close()


def run(app: Celery, *options: str) -> Result:
    words = ["-A", app, "tasks", "check", *options]
    return CliRunner().invoke(celery, words)  # type: ignore[arg-type]


def test_the_command_is_in_the_group_of_results(app: Celery) -> None:
    result = CliRunner().invoke(celery, ["-A", app, "tasks", "--help"])  # type: ignore[list-item]

    assert result.exit_code == 0
    assert "Connect to broker and database" in result.output
    assert commands.check.get_short_help_str(1000) == command.get_short_help_str(1000)


def test_a_warning_does_not_fail_the_command(app: Celery) -> None:
    result = run(app)

    assert result.exit_code == 0
    assert "warning exchange" in result.output
    assert result.output.splitlines()[-1].endswith(
        " ok, 1 warning, 0 failed, 2 skipped"
    )


def test_routes_that_were_set_later_and_name_no_declared_queue_fail(
    app: Celery,
) -> None:
    app.conf.task_routes = {"mail.*": {"queue": "mails"}, "other": {"queue": "export"}}
    context = CheckContext(app)
    findings = {finding.check: finding for finding in check_up(context)}

    assert findings["routes"].status is Status.FAILED
    assert "sends 'mail.*' to queue 'mails'" in findings["routes"].detail
    assert findings["routes"].advice.startswith("add 'mails' to queues=[…]")


def test_names_that_sqs_would_refuse_are_one_short_line(tmp_path: Path) -> None:
    app = Celery("export", set_as_current=False)
    queues = ["mail.daily", "a b", "export", "c.d", "e.f", "g.h"]
    app.config_from_object(Config.embedded(queues, tmp_path / "box"))
    [line] = [each for each in run(app).output.splitlines() if "SQS" in each]
    detail = "would need other names for 'mail.daily', 'a b', 'c.d' and 2 more"

    assert line == f"{'warning':7} {'move to SQS':28} {detail}"


def test_advice_names_the_app_as_the_caller_has(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["celery", "-A", "shop.celery", "tasks", "check"])
    result = run(app)
    plain = run(Celery("plain", set_as_current=False))

    assert "start a monitor with `celery -A shop.celery tasks monitor`" in result.output
    assert "write what `celery -A shop.celery tasks adopt` prints" in plain.output


def test_the_advice_about_a_deleted_monitor_queue_is_to_start_a_monitor(
    app: Celery,
) -> None:
    missing = failed("queue platform.fifo", "the queue does not exist", _DECLARE)
    queue = ok("queue export", "exists as configured")
    context = CheckContext(app)
    with app.connection_for_write() as context.connection:
        found = [*_explain_missing(context, [queue, missing])]

    assert found == [queue, replace(missing, advice=_START_MONITOR)]


def test_a_tracked_app_is_told_that_its_results_are_stored_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"workertoolbox+sqlite:///{tmp_path / 'tasks.db'}"
    upgrade(url)
    monkeypatch.setenv("WORKERTOOLBOX_RESULT_BACKEND", url)
    app = Celery("export", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend="redis://:secret@host")
    track(app)
    findings = {each.check: each for each in check_up(CheckContext(app))}

    assert findings["results"].status is Status.OK
    assert findings["results"].detail.startswith("stored elsewhere (redis): ")


def test_bindings_by_the_same_key_are_told_apart_by_their_exchanges() -> None:
    app = Celery("export", broker="amqp://", set_as_current=False)
    media = Exchange("media", "topic")
    track(app, [Queue("mail", Exchange("mail"), "mail"), Queue("video", media, "v.#")])
    described = [
        _described_bindings(app.amqp.queues[name])
        for name in ("celery", "mail", "video")
    ]

    assert described == [
        "to 'task_exchange' by 'celery'",
        "to 'mail' and 'task_exchange' by 'mail'",
        "to 'media' by 'v.#' and to 'task_exchange' by 'video'",
    ]


def test_a_failure_exits_with_code_1_and_shows_advice(app: Celery) -> None:
    setup_app(app)
    result = run(app)
    lines = result.output.splitlines()
    [number] = [n for n, line in enumerate(lines) if line.startswith("failed ")]

    assert result.exit_code == 1
    assert lines[number].startswith("failed  monitor")
    assert lines[number + 1].endswith("→ start one with `celery -A … tasks monitor`")


def test_each_line_of_json_is_a_finding(app: Celery) -> None:
    lines = run(app, "--json").output.splitlines()
    findings = list(check_up(CheckContext(app)))

    assert [json.loads(line)["check"] for line in lines] == [
        each.check for each in findings
    ]
    for line in lines:
        assert list(json.loads(line)) == ["check", "status", "detail", "advice"]


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("8s", 8), ("500ms", 0.5), ("8", 8), ("600", 600), ("10m", 600), ("0.1", 0.1)],
)
def test_a_timeout_is_a_duration(timeout: str, seconds: float) -> None:
    context = command.make_context("check", ["--timeout", timeout])

    assert context.params["timeout"] == seconds


@pytest.mark.parametrize(
    ("timeout", "problem"),
    [
        ("soon", "'soon' is not a duration; write seconds, or a number and a unit"),
        ("99ms", "'99ms' is out of range; write 0.1s to 600s"),
        ("11m", "'11m' is out of range; write 0.1s to 600s"),
    ],
)
def test_a_timeout_that_cannot_be_used_is_an_error(
    app: Celery, timeout: str, problem: str
) -> None:
    result = run(app, "--timeout", timeout)

    assert result.exit_code == 2
    assert problem in result.output


def test_a_check_up_leaves_only_probes_behind(app: Celery, tmp_path: Path) -> None:
    setup_app(app)
    bindings = tmp_path / "box" / "broker" / "bindings" / "task_exchange.exchange"
    before = bindings.read_text("utf-8")
    found = {each.check: each.status for each in check_up(CheckContext(app))}
    names = {
        path.name.partition(".")[2]
        for path in tmp_path.joinpath("box", "broker", "queues").glob("*.msg")
    }

    assert found["probe"] is Status.OK
    assert bindings.read_text("utf-8") == before
    assert names == {"platform.fifo.msg"}


def in_time(check: Check, timeout_s: float = 5.0) -> list[Finding]:
    return list(
        _run_in_time(
            check, CheckContext(Celery("none", set_as_current=False)), timeout_s
        )
    )


def test_a_check_that_raises_is_one_line_without_a_password() -> None:
    def broken(_: CheckContext) -> Iterator[Finding]:
        raise KeyError("amqp://me:geheim@mq//\nis unusable")
        yield

    [found] = in_time(Check("broken", broken))

    assert (found.check, found.status) == ("broken", Status.FAILED)
    assert found.detail.startswith("KeyError: ")
    assert "\n" not in found.detail
    assert "geheim" not in found.detail


def test_a_check_that_hangs_is_abandoned_after_its_timeout() -> None:
    release = threading.Event()

    def hanging(_: CheckContext) -> Iterator[Finding]:
        yield Finding("first", Status.OK, "seen")
        release.wait()

    began_at = time.monotonic()
    found = in_time(Check("hanging", hanging), timeout_s=0.2)
    lasted_s = time.monotonic() - began_at
    release.set()

    assert [each.check for each in found] == ["first", "hanging"]
    assert found[1].detail == "no answer within 0.2 s"
    assert lasted_s < 2


def test_a_check_that_needs_a_failed_one_is_skipped_with_the_reason() -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(
        Config(["export"], broker_url="rabbit://", result_backend="redis://")
    )
    found = {each.check: each for each in check_up(CheckContext(app))}

    assert found["broker"].status is found["database"].status is Status.FAILED
    assert "unknown kind" in found["broker"].detail
    assert "is not a supported database" in found["database"].detail
    assert found["probe"].status is Status.SKIPPED
    assert found["probe"].detail == "needs 'broker', which is not ok"
    assert found["quarantine"].detail == "needs 'database', which is not ok"
    assert found["versions"].status is Status.OK


@pytest.mark.parametrize(
    ("skew_s", "uncertainty_s", "status"),
    [
        (1.9, 0.0, Status.OK),
        (-2.1, 0.0, Status.WARNING),
        (2.1, 0.5, Status.OK),
        (60.4, 0.5, Status.WARNING),
        (-61.0, 0.5, Status.FAILED),
    ],
)
def test_a_clock_is_wrong_if_its_skew_exceeds_the_uncertainty(
    skew_s: float, uncertainty_s: float, status: Status
) -> None:
    assert _compare("clock", skew_s, uncertainty_s).status is status
