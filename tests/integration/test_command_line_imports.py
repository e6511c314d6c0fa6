"""Celery's commands do not import the database's libraries unless they use them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support.processes import running

SERVICES = {
    "routed": """
from celery import Celery
from cadasta.workertoolbox.routing import Routing
app = Celery("routed")
app.config_from_object(Routing(["export"], broker_url="memory://"))
""",
    "configured": """
from celery import Celery
from cadasta.workertoolbox.conf import Config
app = Celery("configured")
app.config_from_object(Config(["export"], broker_url="memory://"))
""",
}

#: Celery's command line, which reports each import.
CELERY = [sys.executable, "-X", "importtime", "-m", "celery"]

#: Libraries of the result backend, the upgrade and the commands of results.
HEAVY = {"alembic", "psycopg2", "rich", "sqlalchemy"}

RESULTS = "cadasta.workertoolbox.results"


def imported(output: str) -> set[str]:
    """Return the modules that a report of `-X importtime` names."""
    return set(re.findall(r"^import time:[\s\d|]+\| +([\w.]+)$", output, re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, source in SERVICES.items():
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-A", "configured", "tasks", "--help"],
        ["-A", "configured", "report"],
        ["-A", "configured", "inspect", "ping", "--timeout", "0.1"],
        ["-A", "configured", "purge", "--force"],
        ["-A", "routed", "call", "export.project"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_command_does_not_import_what_it_does_not_use(
    folder: Path, arguments: list[str]
) -> None:
    with running([*CELERY, *arguments], folder=folder, print_output=False) as command:
        command.wait()
        modules = imported(command.text)

    assert "celery" in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize("name", ["monitor", "upgrade"])
def test_a_command_without_tables_of_tasks_imports_neither_rich_nor_the_queries(
    folder: Path, name: str
) -> None:
    command = [*CELERY, "-A", "configured", "tasks", name, "--help"]
    with running(command, folder=folder, print_output=False) as help_page:
        help_page.wait()
        modules = imported(help_page.text)

    assert f"{RESULTS}._commands.app" in modules
    assert not modules & {"rich", f"{RESULTS}._store.store"}


def test_a_worker_without_result_backend_does_not_import_the_databases_libraries(
    folder: Path,
) -> None:
    command = [*CELERY, "-A", "routed", "worker", "--pool", "solo", "--loglevel=INFO"]
    with running(command, folder=folder, print_output=False) as worker:
        modules = imported(worker.wait_for("ready."))

    assert "cadasta.workertoolbox.routing" in modules
    assert modules & HEAVY == set()
