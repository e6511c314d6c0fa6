"""`celery -A proj tasks list`, and the table that `stuck` prints too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from cadasta.workertoolbox.results._commands.options import (
    internal_option,
    json_option,
    limit_option,
)
from cadasta.workertoolbox.results._commands.output import (
    check_filters,
    current_app,
    format_instant,
    print_json,
    print_table,
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

#: The options that filter tasks by a value.
FILTERS = ("name", "status", "queue", "worker")


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
    app = current_app(ctx)
    with TaskStore.for_app(app) as store:
        found = store.list(**filters, brief=not as_json)
        if not found:
            filters = {key: filters[key] for key in filters if key in FILTERS}
            check_filters(app, store, **filters)
    print_tasks(found, as_json=as_json)


def print_tasks(tasks: Sequence[Task], *, as_json: bool) -> None:
    """Print tasks as a table, or as one JSON object per line."""
    if as_json:
        print_json(task.as_json() for task in tasks)
    else:
        rows = [[text(task) for text in COLUMNS.values()] for task in tasks]
        print_table(list(COLUMNS), rows, below=("name", "id"))


def _scheduled(task: Task) -> str:
    if task.scheduled_at is not None:
        return format_instant(task.scheduled_at)
    return "" if task.tracked else "untracked"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)
