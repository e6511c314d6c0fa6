"""`celery -A proj tasks list`, and the table that `stuck` prints too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.options import json_option, limit_option
from cadasta.workertoolbox.results._commands.output import (
    format_instant,
    print_json,
    print_table,
)
from cadasta.workertoolbox.results._commands.queries import Selection, selection_options
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._task import Task

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

_NOTHING = "no task was found"


@click.command(
    "list",
    epilog="Example: celery -A proj tasks list --since 2h --query "
    "'status:failure,lost args.order_id:4711'",
)
@selection_options
@limit_option("tasks")
@click.option(
    "--page",
    help="Continue where another page ended, from its token, which has its window.",
)
@click.option("--all", "is_all", is_flag=True, help="Show all tasks, page by page.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    as_json: bool,
    limit: int,
    page: str | None,
    is_all: bool,
    **options: Any,
) -> None:
    """Show the newest tasks."""
    app = current_app(ctx)
    selection = Selection(app, options)
    with TaskStore.for_app(app) as store:
        if is_all:
            for each in selection.pages(store, page=page, brief=not as_json):
                print_tasks(each.tasks, as_json=as_json, nothing=_NOTHING)
            return
        found = selection.search(store, limit=limit, page=page, brief=not as_json)
    print_tasks(found.tasks, as_json=as_json, nothing=_NOTHING)
    if found.next is not None:
        needs_token = as_json or page is not None
        click.echo(_older(found.next, needs_token=needs_token), err=True)


def _older(token: str, *, needs_token: bool) -> str:
    """Return the line about tasks that are not shown.

    A person wants a longer list; a token is for programs.
    """
    if needs_token:
        return f"older tasks: add --page {token}"
    return "there are older tasks: add --all, or raise --limit"


def print_tasks(tasks: Sequence[Task], *, as_json: bool, nothing: str) -> None:
    """Print tasks as a table, or as one JSON object per line.

    Args:
        nothing: What is printed instead of a table without tasks.
    """
    if as_json:
        print_json(task.as_json() for task in tasks)
    else:
        rows = [[text(task) for text in COLUMNS.values()] for task in tasks]
        print_table(list(COLUMNS), rows, below=("name", "id"), nothing=nothing)


def _scheduled(task: Task) -> str:
    if task.scheduled_at is not None:
        return format_instant(task.scheduled_at)
    return "" if task.tracked else "untracked"


def _seconds(seconds: float | None) -> str:
    return duration_text(seconds)
