"""`celery -A proj tasks list`, and the table that `stuck` prints too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.table import Table

from cadasta.workertoolbox.results._commands.options import (
    internal_option,
    json_option,
    limit_option,
)
from cadasta.workertoolbox.results._commands.output import (
    current_app,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._commands.tree import format_duration
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.task import Task

#: The columns of the table, each with a function that returns its text for a task.
COLUMNS: dict[str, Callable[[Task], str]] = {
    "scheduled": lambda task: _scheduled(task),
    "status": lambda task: task.status,
    "queue": lambda task: task.queue or "",
    "name": lambda task: task.name or "",
    "wait": lambda task: _seconds(task.wait_s),
    "run": lambda task: _seconds(task.run_s),
    "id": lambda task: task.id,
}


@click.command("list")
@click.option("--name", help="Only tasks of this name.")
@click.option("--status", help="Only tasks of this status, such as FAILURE.")
@click.option("--queue", help="Only tasks of this queue.")
@click.option("--worker", help="Only tasks that this worker ran, such as celery@host.")
@limit_option("tasks")
@internal_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, **filters: Any) -> None:
    """Show the newest tasks."""
    with TaskStore.for_app(current_app(ctx)) as store:
        print_tasks(store.list(**filters), as_json=as_json)


def print_tasks(tasks: Sequence[Task], *, as_json: bool) -> None:
    """Print tasks as a table, or as one JSON object per line."""
    if as_json:
        print_json(task.as_json() for task in tasks)
    else:
        make_console().print(tasks_table(tasks))


def tasks_table(tasks: Sequence[Task]) -> Table:
    """Return a table with a row for each task."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    # An id is never cut, because `show` needs all of it.
    longest_id = max((len(task.id) for task in tasks), default=0)
    for column in COLUMNS:
        width = longest_id if column == "id" else None
        table.add_column(column, no_wrap=True, min_width=width)
    for task in tasks:
        table.add_row(*(text(task) for text in COLUMNS.values()))
    return table


def _scheduled(task: Task) -> str:
    if task.scheduled_at is not None:
        return f"{task.scheduled_at.astimezone():%Y-%m-%d %H:%M:%S}"
    return "" if task.tracked else "untracked"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)
