"""What `tasks show` prints of the task that was asked for, besides its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from cadasta.workertoolbox.results._commands.output import format_instant
from cadasta.workertoolbox.results._safe_text import json_text, terminal_text
from cadasta.workertoolbox.results._task import Task


def requested_lines(task: Task) -> Iterator[Sequence[str]]:
    """Yield lines with the times of a task, its queue, its worker and its sender.

    Each line is a sequence of texts that are separated by spaces.
    """
    times = (
        ("published", task.scheduled_at),
        ("ETA", task.eta),
        ("started", task.started_at),
        ("ended", task.finished_at),
    )
    yield from _line(f"{word} {format_instant(at)}" for word, at in times if at)
    yield from _line(_named(queue=task.queue, worker=task.worker))
    sender = " ".join(filter(None, (task.service, task.origin)))
    names = {"from": sender, "schedule": task.schedule}
    yield from _line(_named(**names))
    yield from _line(_named(**{"rerun of": task.rerun_of}))
    if task.headers:
        yield [f"headers {json_text(task.headers)}"]


def _named(**values: str | None) -> Iterator[str]:
    for name, value in values.items():
        if value:
            yield f"{name} {terminal_text(value)}"


def _line(texts: Iterator[str]) -> Iterator[Sequence[str]]:
    """Yield a line if there are texts."""
    found = [*texts]
    if found:
        yield found


def print_details(task: Task) -> None:
    """Print the arguments of a task, and its result or its traceback."""
    values: dict[str, Any] = {"args": task.args, "kwargs": task.kwargs}
    if task.traceback is None:
        values["result"] = task.result
    for name, value in values.items():
        if value is not None:
            click.echo(f"{name:<8}{json_text(value)}")
    for line in (task.traceback or "").splitlines():
        click.echo(terminal_text(line))
