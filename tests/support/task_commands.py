"""`celery … tasks`: the monitor and other commands as processes, or in this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner

from support.processes import SERVICE_FOLDER, Process, running


def run_monitor(
    environment: Mapping[str, str],
    folder: Path,
    *options: str | Path,
    program: Sequence[str] = ("-m", "celery"),
) -> AbstractContextManager[Process]:
    """Run a monitor as long as the block lasts.

    Args:
        environment: Variables with the broker and the database.
        folder: The working directory, which also receives the output.
        options: Options of `tasks monitor`.
        program: Arguments to Python that start Celery's command line.
    """
    return run_tasks_command(environment, folder, "monitor", *options, program=program)


def run_tasks_command(
    environment: Mapping[str, str],
    folder: Path,
    name: str,
    *options: str | Path,
    program: Sequence[str] = ("-m", "celery"),
) -> AbstractContextManager[Process]:
    """Run a command of `tasks`; the arguments are those of `run_monitor`."""
    celery = [
        sys.executable,
        *program,
        "-A",
        "echo_service",
        "--workdir",
        str(SERVICE_FOLDER),
    ]
    return running(
        [*celery, "tasks", name, *options],
        folder=folder,
        environment=environment,
        name=name,
    )


def call_tasks_command(app: Celery, *words: str) -> str:
    """Run a command of `tasks` in this process, and return its output.

    Starting a process takes longer than most commands do.

    Raises:
        AssertionError: The command failed.
    """
    given: Any = app
    result = CliRunner().invoke(celery, ["-A", given, "tasks", *words])
    assert result.exit_code == 0, result.output
    return result.output
