from __future__ import annotations

import json
import socket
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from kombu import Queue
from messages import message
from sqlalchemy import update

from cadasta.workertoolbox.results import commands
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

KEYS = (
    "id name status queue args kwargs root_id parent_id group_id retries "
    "scheduled_at eta started_at finished_at worker result traceback "
    "origin service schedule headers rerun_of arguments"
).split()


def run(app: Celery, *words: str) -> Result:
    return CliRunner().invoke(celery, ["-A", app, "tasks", *words])  # type: ignore[list-item]


def objects(app: Celery, *words: str) -> list[dict[str, Any]]:
    """Return what a command prints with `--json`."""
    return [json.loads(line) for line in run(app, *words, "--json").stdout.splitlines()]


def track(backend: Backend, *headers: dict[str, Any]) -> None:
    records = [
        read_task(message(**each), seen_at=datetime.now(UTC)) for each in headers
    ]
    with backend.database.engine.begin() as connection:
        write_batch(connection, records)


def register(app: Celery) -> None:
    """Give an app a task and a queue that no message names."""

    @app.task(name="msg.registered", shared=False)
    def registered() -> None: ...

    app.amqp.queues.add(Queue("declared"))


def test_the_help_of_the_group_is_that_of_its_commands() -> None:
    for name, text in commands.COMMANDS.items():
        module = import_module(f"{commands.PACKAGE}.{name}")

        assert module.command.get_short_help_str(1000) == text


def test_the_commands_are_part_of_celerys_command_line(app: Celery) -> None:
    result = run(app, "--help")

    assert result.exit_code == 0
    for command in ("upgrade", "monitor", "list", "show"):
        assert command in result.output


def test_another_distribution_can_add_a_command(
    app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "greeting-1.0.dist-info"
    metadata.mkdir()
    metadata.joinpath("METADATA").write_text("Name: greeting\nVersion: 1.0\n", "utf-8")
    metadata.joinpath("entry_points.txt").write_text(
        "[workertoolbox.commands]\ngreet = greeting:greet\nlist = greeting:greet\n"
    )
    tmp_path.joinpath("greeting.py").write_text(
        "import click\n\n@click.command(help='Be polite.')\n"
        "def greet():\n    click.echo('hello')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert "greet       Be polite." in run(app, "--help").output
    assert run(app, "greet").output == "hello\n"
    assert run(app, "list").output != "hello\n"


def test_list_as_json_has_one_object_per_line_with_the_documented_keys(
    app: Celery, backend: Backend
) -> None:
    track(backend, {"id": "1"}, {"id": "2", "eta": "2999-01-01T00:00:00+00:00"})
    backend.store_result("1", 42, states.SUCCESS)
    lines = [
        json.loads(line)
        for line in run(app, "list", "--json").output.split("\n")
        if line
    ]

    assert all(list(line) == KEYS for line in lines)
    assert {line["id"]: line["status"] for line in lines} == {
        "1": "SUCCESS",
        "2": "SCHEDULED",
    }


def test_an_untracked_task_without_any_instant_is_listed_last(
    app: Celery, backend: Backend
) -> None:
    track(backend, {"id": "tracked"})
    backend.store_result("other", {}, "PROGRESS")
    with backend.database.engine.begin() as connection:
        connection.execute(update(taskmeta).values(date_done=None))

    assert [one["id"] for one in objects(app, "list")] == ["tracked", "other"]


def test_the_id_is_never_cut(app: Celery, backend: Backend) -> None:
    id = "8acede1d-80e2-46b8-bd08-9b65b3899849"
    track(backend, {"id": id, "task": "export." + "x" * 150})

    assert id in run(app, "list").output


def test_list_filters_and_leaves_out_celerys_own_tasks(
    app: Celery, backend: Backend
) -> None:
    track(
        backend,
        {"id": "mine"},
        {"id": "other", "task": "msg.notify", "routing_key": "msg"},
        {"id": "unlock", "task": "celery.chord_unlock"},
        {"id": "loud", "task": "Celery.report", "routing_key": "loud"},
    )

    def ids(*words: str) -> set[str]:
        return {one["id"] for one in objects(app, "list", *words)}

    assert ids() == {"mine", "other", "loud"}
    assert ids("--internal") == {"mine", "other", "loud", "unlock"}
    assert ids("--name", "celery.chord_unlock") == {"unlock"}
    assert ids("--name", "msg.notify") == {"other"}
    assert ids("--queue", "msg") == {"other"}
    assert ids("--status", "QUEUED") == {"mine", "other", "loud"}
    assert ids("--status", "FAILURE") == set()
    assert len(ids("--limit", "1")) == 1


def test_list_shows_the_tasks_that_a_worker_ran(app: Celery, backend: Backend) -> None:
    for id, host in (("1", "one@host"), ("2", "two@host"), ("3", "one@host")):
        request = Context(id=id, task="export.project", hostname=host)
        backend.store_result(id, 42, states.SUCCESS, request=request)

    def ids(*words: str) -> list[str]:
        return [one["id"] for one in objects(app, "list", *words)]

    assert ids("--worker", "one@host") == ["3", "1"]
    assert ids("--worker", "one@host", "--status", "QUEUED") == []


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("failure", "FAILURE"),
        ("Queued", "QUEUED"),
        ("SUCESS", "SUCCESS"),
        ("PENDING", "QUEUED"),
        ("FAILED", "FAILURE"),
        ("failed", "FAILURE"),
        ("error", "FAILURE"),
        ("RUNNING", "STARTED"),
        ("in progress", "PROGRESS"),
        ("done", "SUCCESS"),
        ("completed", "SUCCESS"),
        ("cancelled", "REVOKED"),
        ("waiting", "QUEUED"),
        ("retrying", "RETRY"),
        ("REVOKE", "REVOKED"),
    ],
)
@pytest.mark.parametrize(
    "words", [["list"], ["purge", "--older-than", "1d"], ["list", "--queue", "export"]]
)
def test_a_status_that_no_task_has_is_an_error_that_suggests_another(
    app: Celery, backend: Backend, status: str, meant: str, words: list[str]
) -> None:
    track(backend, {"id": "1"})
    result = run(app, *words, "--status", status)

    assert result.exit_code != 0
    assert f"{status!r}" in result.output
    assert meant in result.output


def test_a_status_that_resembles_none_is_an_error_that_names_some(app: Celery) -> None:
    result = run(app, "list", "--status", "xyzzy")

    assert result.exit_code == 2
    assert "no task has the status 'xyzzy'; statuses are QUEUED" in result.output


@pytest.mark.parametrize("status", ["FAILURE", "PROGRESS", "ABORTED", "SCHEDULED"])
def test_a_status_that_a_task_may_have_at_times_is_accepted(
    app: Celery, status: str
) -> None:
    result = run(app, "list", "--status", status, "--json")

    assert (result.exit_code, result.output) == (0, "")


#: Commands, each with its options for a value that tasks have.
FILTERS = (
    (["list"], ("--name", "--queue", "--worker")),
    (["list", "--status", "FAILURE"], ("--name", "--queue", "--worker")),
    (["stuck", "--older-than", "1d"], ("--name", "--queue")),
    (["purge", "--older-than", "1d", "--dry-run"], ("--name",)),
)

#: Options with a value that no task has, and the value that is suggested.
MISTAKES = (
    ("--name", "export.projct", "export.project"),
    ("--name", "Export.Project", "export.project"),
    ("--name", "project", "export.project"),
    ("--name", "export.plann", "export.planned"),
    ("--name", "msg.registred", "msg.registered"),
    ("--name", "untraked", "untracked"),
    ("--queue", "exprt", "export"),
    ("--queue", "EXPORT", "export"),
    ("--queue", "declard", "declared"),
    ("--worker", "one@hots", "one@host"),
    ("--worker", "host", "one@host"),
)


@pytest.mark.parametrize(
    ("words", "option", "value", "meant"),
    [
        (words, option, value, meant)
        for words, options in FILTERS
        for option, value, meant in MISTAKES
        if option in options
    ],
)
def test_a_value_that_no_task_has_is_an_error_that_suggests_another(
    app: Celery,
    backend: Backend,
    words: list[str],
    option: str,
    value: str,
    meant: str,
) -> None:
    register(app)
    step = {"task": "export.planned", "options": {"task_id": "3"}}
    track(backend, {"id": "1"}, {"id": "2", "body": [[], {}, {"chain": [step]}]})
    request = Context(id="4", task="untracked", hostname="one@host")
    backend.store_result("4", 42, states.SUCCESS, request=request)
    result = run(app, *words, option, value)

    assert result.exit_code == 1
    assert result.output == (
        f"Error: no task has the {option[2:]} {value!r}; did you mean {meant!r}?\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "msg.registered"],
        ["--queue", "declared"],
        ["--name", "export.project", "--status", "FAILURE"],
        ["--queue", "export", "--worker", "one@host"],
    ],
)
def test_values_that_exist_are_accepted_although_no_task_matches(
    app: Celery, backend: Backend, words: list[str]
) -> None:
    register(app)
    track(backend, {"id": "1"})
    request = Context(id="4", task="untracked", hostname="one@host")
    backend.store_result("4", 42, states.SUCCESS, request=request)
    result = run(app, "list", *words, "--json")

    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("option", ["--task-id", "--root-id"])
def test_erasing_what_nobody_has_seen_is_an_error(app: Celery, option: str) -> None:
    result = run(app, "purge", option, "typo")

    assert result.exit_code == 1
    assert "no task with id 'typo' has been seen" in result.output


def test_a_custom_state_that_resembles_a_known_status_is_found(
    app: Celery, backend: Backend
) -> None:
    backend.store_result("1", {}, "failure")

    assert [one["id"] for one in objects(app, "list", "--status", "failure")] == ["1"]


def test_show_draws_the_whole_workflow_of_any_of_its_tasks(
    app: Celery, backend: Backend
) -> None:
    track(
        backend,
        {"id": "root", "root_id": "root"},
        {"id": "child", "root_id": "root", "parent_id": "root", "task": "msg.notify"},
    )
    result = run(app, "show", "child")

    assert result.exit_code == 0
    assert "export.project  QUEUED" in result.output
    assert "▶ ◆ msg.notify" in result.output
    assert max(len(line) for line in result.output.splitlines()) < 100

    ids = [
        json.loads(line)["id"]
        for line in run(app, "show", "child", "--json").output.splitlines()
    ]
    assert ids == ["root", "child"]


def test_a_piped_tree_is_not_cut(app: Celery, backend: Backend) -> None:
    name = "export." + "x" * 150
    track(backend, {"id": "root", "root_id": "root", "task": name})
    result = run(app, "show", "root")

    assert f"{name}  QUEUED  root" in result.output


def test_show_draws_several_attempts_as_a_table(app: Celery, backend: Backend) -> None:
    track(backend, {"id": "1"}, {"id": "1", "retries": 1}, {"id": "once"})
    for id, retries, state, result in (
        ("1", 0, states.RETRY, ValueError("no map")),
        ("1", 1, states.SUCCESS, 42),
        ("once", 0, states.SUCCESS, 42),
    ):
        request = Context(id=id, task="export.project", retries=retries, hostname="w@h")
        backend.store_result(id, result, state, request=request)
    lines = run(app, "show", "1").output.splitlines()
    titles, first, second = (line.split() for line in lines[-3:])

    assert (titles[0], titles[-1]) == ("retries", "error")
    assert (first[0], first[-5:]) == ("0", ["RETRY", "w@h", "ValueError:", "no", "map"])
    assert (second[0], second[-2:]) == ("1", ["SUCCESS", "w@h"])
    assert "outcome" not in run(app, "show", "once").output


def test_show_prints_the_arguments_and_the_traceback_on_request(
    app: Celery, backend: Backend
) -> None:
    track(backend, {"id": "1"}, {"id": "2"})
    backend.store_result("1", ValueError("no map"), states.FAILURE, "  in a\x1b")
    backend.store_result("2", [42], states.SUCCESS)
    failure, success = (run(app, "show", id, "--details").output for id in "12")

    assert 'args    ["a"]\nkwargs  {"b": 1}\n  in a\\x1b\n' in failure
    assert success.endswith('kwargs  {"b": 1}\nresult  [42]\n')
    assert "kwargs" not in run(app, "show", "1").output


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (["x" * 5_000_000], '→ ["' + "x" * 57 + "…\n"),
        ({"é": [None, None, *["x" * 100] * 50_000]}, '→ {"é": [null, null, "xxx'),
        (ValueError("y" * 5_000_000), f"ValueError: {'y' * 988}…\n"),
    ],
    ids=["list", "object", "failure"],
)
def test_show_reads_only_the_beginning_of_a_large_result(
    app: Celery, backend: Backend, result: Any, shown: str
) -> None:
    failed = isinstance(result, Exception)
    backend.store_result("1", result, states.FAILURE if failed else states.SUCCESS)
    run(app, "show", "1")  # Loads modules.
    tracemalloc.start()
    try:
        output = run(app, "show", "1").output
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    [whole] = objects(app, "show", "1", "--json")

    assert shown in output
    assert peak_bytes < 2_000_000
    assert len(json.dumps(whole["result"])) > 5_000_000


def test_an_unknown_task_id_is_a_one_line_error_with_exit_code_1(app: Celery) -> None:
    for id in ("nobody", "\udcff"):
        assert run(app, "show", id).exit_code == 1

    result = run(app, "show", "nobody")
    assert result.output.startswith("Error: no task with id 'nobody'")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--limit", "0"],
        ["list", "--limit", "99999999999999999999"],
        ["monitor", "--batch-size", "40000"],
        ["monitor", "--batch-wait", "nan"],
        ["monitor", "--health-file", "/nowhere/at/all/healthy"],
        ["monitor", "--prometheus", "localhost"],
        ["monitor", "--prometheus", "localhost:70000"],
        ["show"],
        ["list", "--nope"],
        ["nope"],
    ],
)
def test_wrong_usage_has_exit_code_2(app: Celery, words: list[str]) -> None:
    assert run(app, *words).exit_code == 2


def test_an_unreachable_database_is_an_error_that_names_it() -> None:
    url = "workertoolbox+sqlite:////nowhere/at/all.sqlite3"
    app = Celery("tests", backend=url, set_as_current=False)
    result = run(app, "list")

    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "/nowhere/at/all.sqlite3" in result.output


def test_a_monitor_of_an_app_without_a_monitor_queue_says_what_to_do(
    app: Celery,
) -> None:
    result = run(app, "monitor")

    assert result.exit_code == 1
    assert "Config(queues=[…])" in result.output


def test_a_monitor_without_the_library_of_prometheus_says_what_to_install(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(
        sys.modules, "cadasta.workertoolbox.results._monitor.metrics", raising=False
    )
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = run(app, "monitor", "--prometheus", "9187")

    assert result.exit_code == 1
    assert "pip install workertoolbox-results[prometheus]" in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1:", ""])
def test_a_port_in_use_is_a_one_line_error_that_names_it(
    app: Celery, host: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"{host}{taken.getsockname()[1]}"
        result = run(app, "monitor", "--prometheus", address)

    assert result.exit_code == 1
    assert result.output.startswith("Error: --prometheus cannot listen on ")
    assert f"{address}: " in result.output
    assert len(result.output.splitlines()) == 1


def test_tasks_published_within_a_second_are_listed_newest_first(
    app: Celery, backend: Backend
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    track(
        backend,
        *(
            {
                "id": str(number),
                "workertoolbox_published_at": (
                    start + timedelta(milliseconds=number)
                ).isoformat(),
            }
            for number in range(5)
        ),
    )

    assert [one["id"] for one in objects(app, "list")] == list("43210")
