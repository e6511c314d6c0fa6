"""The monitor of the service `fleet`, as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from processes import Process, running

HERE = Path(__file__).parent


def monitor(
    environment: Mapping[str, str],
    folder: Path,
    *options: str | Path,
    program: Sequence[str] = ("-m", "celery"),
) -> AbstractContextManager[Process]:
    """Run a monitor as long as the block lasts.

    Args:
        environment: Where its broker and its database are.
        folder: Where its output goes.
        options: Of the command `tasks monitor`.
        program: Python's options for Celery's command line.
    """
    command = [sys.executable, *program, "-A", "fleet", "--workdir", str(HERE)]
    return running(
        [*command, "tasks", "monitor", *options],
        folder=folder,
        environment=environment,
        name="monitor",
    )
