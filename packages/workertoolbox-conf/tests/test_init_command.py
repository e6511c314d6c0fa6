"""`celery tasks init`: what it writes, and what it refuses."""

from __future__ import annotations

import re
import runpy
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner

from cadasta.workertoolbox.conf._starter.command import command

#: Arguments of the command, with the broker URL and the result backend that follow.
POSTGRESQL = (
    "workertoolbox+postgresql+psycopg2://worker:development@localhost:5432/workers"
)
SQLITE = "workertoolbox+sqlite:///results.sqlite"
CHOICES = {
    "rabbitmq": ("amqp://worker:development@localhost:5672//", POSTGRESQL),
    "redis": ("redis://localhost:6379/0", POSTGRESQL),
    "sqs": ("sqs://worker:development@localhost:9324/", POSTGRESQL),
    "redis --database sqlite": ("redis://localhost:6379/0", SQLITE),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: str) -> tuple[int, str]:
    """Run the command, and return its exit code and what it printed."""
    result = CliRunner().invoke(command, words.split())
    return result.exit_code, result.output


def load_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of `.env.example`, as a shell reads it."""
    script = "set -a && . ./.env.example && env -0"
    done = subprocess.run(["env", "-i", "/bin/sh", "-c", script], capture_output=True)
    for line in done.stdout.decode().split("\0"):
        if line.startswith("WORKERTOOLBOX_"):
            monkeypatch.setenv(*line.split("=", 1))


def open_app(path: str = "proj/celery.py") -> Celery:
    """Run the module with the app, and return the app."""
    app: Celery = runpy.run_path(path)["app"]
    return app


@pytest.mark.parametrize("words", CHOICES)
def test_the_configuration_uses_the_servers_of_the_variables(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(f"--broker {words}")[0] == 0
    load_environment(monkeypatch)
    app = open_app()

    assert (app.conf.broker_url, app.conf.result_backend) == CHOICES[words]
    assert Path("compose.yaml").exists()


def test_without_a_server_everything_is_in_a_folder() -> None:
    assert run("--broker embedded")[0] == 0
    app = open_app()

    assert app.conf.broker_url.startswith("filesystem://")
    assert Path(".workertoolbox").is_dir()
    assert not Path("compose.yaml").exists()


@pytest.mark.parametrize("broker", ["rabbitmq", "redis", "sqs", "embedded"])
def test_each_setting_in_a_comment_is_valid(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(f"--broker {broker}")
    load_environment(monkeypatch)
    module = Path("proj/celery.py")
    text, count = re.subn(r"(?m)^( +)# (\w+=.*,)$", r"\1\2", module.read_text("utf-8"))
    module.write_text(text, "utf-8")
    conf: Any = open_app().conf

    assert count >= 7
    assert conf.task_acks_late is True
    assert conf.RETENTION == {"default": "90d", "FAILURE": "365d"}
    assert conf.task_queues is not None


def test_the_first_task_goes_to_the_first_queue_that_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--broker embedded --queue mail --queue report first")
    monkeypatch.syspath_prepend(folder)
    hello = runpy.run_path("first/tasks.py")["hello"]

    assert hello.name == "mail.hello"
    assert {"mail", "report"} < {queue.name for queue in hello.app.conf.task_queues}
    assert hello("you") == "Hello, you!"


def test_no_file_is_overwritten_and_then_none_is_written(folder: Path) -> None:
    Path("compose.yaml").write_text("services: {}\n", "utf-8")
    code, output = run("--broker redis")

    assert code == 1
    assert output == (
        "Error: compose.yaml exists already, and nothing was written; move what is "
        "there, or run the command in another folder\n"
    )
    assert [path.name for path in folder.iterdir()] == ["compose.yaml"]
    assert Path("compose.yaml").read_text("utf-8") == "services: {}\n"


def test_a_package_that_exists_keeps_its_files() -> None:
    Path("shop").mkdir()
    Path("shop/__init__.py").write_text('"""A shop."""\n', "utf-8")
    code, output = run("--broker rabbitmq shop")

    assert code == 0
    assert "wrote shop/celery.py" in output
    assert Path("shop/__init__.py").read_text("utf-8") == '"""A shop."""\n'


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--broker redis my-shop", "'my-shop' cannot be the name of a Python package"),
        ("--broker redis class", "'class' cannot be the name of a Python package"),
        ("--broker redis celery", "a package 'celery' is installed already"),
        ("--broker redis email", "a package 'email' is installed already"),
        ("--broker redis --queue a,b", "'a,b' is not a queue name"),
        ("--broker embedded --database postgresql", "leave out --database"),
        ("--broker mqtt", "'mqtt' is not one of"),
        ("", "Missing option '--broker'"),
    ],
)
def test_what_cannot_work_is_an_error_and_nothing_is_written(
    folder: Path, words: str, problem: str
) -> None:
    code, output = run(words)

    assert code == 2
    assert problem in output
    assert list(folder.iterdir()) == []


def test_the_next_commands_follow_with_the_clients_that_are_missing() -> None:
    output = run("--broker redis")[1]
    commands = [line.strip() for line in output.partition("Next:\n")[2].splitlines()]

    assert commands[-10::2] == [
        "docker compose up --detach --wait",
        "cp .env.example .env && set -a && . ./.env && set +a",
        "celery -A proj tasks upgrade && celery -A proj tasks check",
        "celery -A proj worker",
        "celery -A proj tasks monitor",
    ]
    missing = [
        extra
        for extra, client in (("redis", "redis"), ("postgresql", "psycopg2"))
        if find_spec(client) is None
    ]
    install = f'pip install "workertoolbox-conf[{",".join(missing)}]"'
    assert (commands[0] == install) is bool(missing)
