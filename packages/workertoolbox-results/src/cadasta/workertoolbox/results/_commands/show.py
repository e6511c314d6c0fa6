"""`celery -A proj tasks show`."""

from __future__ import annotations

from collections.abc import Callable

import click

from cadasta.workertoolbox.results._commands.options import json_option, utc_option
from cadasta.workertoolbox.results._commands.output import (
    current_app,
    format_instant,
    make_console,
    print_json,
    print_table,
)
from cadasta.workertoolbox.results._commands.tree import (
    ERROR_WIDTH,
    format_duration,
    in_order,
    workflow_tree,
)
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results._store.attempts import Attempt
from cadasta.workertoolbox.results._store.operations import OperationTask
from cadasta.workertoolbox.results._store.store import TaskStore

#: The columns of the table of attempts, each with a function that returns its text.
_COLUMNS: dict[str, Callable[[Attempt], str]] = {
    "retries": lambda attempt: str(attempt.retries or 0),
    "published": lambda attempt: format_instant(attempt.scheduled_at),
    "started": lambda attempt: format_instant(attempt.started_at),
    "run": lambda attempt: _run_time(attempt),
    "outcome": lambda attempt: attempt.outcome or "",
    "worker": lambda attempt: attempt.worker or "",
    "error": lambda attempt: (attempt.error or "")[:ERROR_WIDTH],
}


@click.command("show")
@click.argument("id")
@utc_option
@json_option
@click.pass_context
def command(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show the workflow of the task or group ID as a tree.

    If the task was attempted more than once, its attempts follow as a table.
    """
    shortened = not as_json  # The tree shows only the beginning of results.
    with TaskStore.for_app(current_app(ctx)) as store:
        task = store.find(id, shortened=shortened)
        root_id = id if task is None else task.root_id or task.group_id or id
        workflow = store.workflow(root_id, internal=True, shortened=shortened)
        if not workflow:
            # The database may not know the root of an untracked task.
            workflow = [task or store.get(id, shortened=shortened)]
        attempts = store.attempts(id) if shortened else []
        reruns = store.reruns(task.id for task in workflow)
    if as_json:
        print_json(
            task.as_json()
            | {"reruns": [each.new_id for each in reruns.get(task.id, ())]}
            for _, task in in_order(workflow, requested_id=id)
        )
    else:
        make_console().print(workflow_tree(workflow, requested_id=id))
        if len(attempts) > 1:
            rows = [[text(each) for text in _COLUMNS.values()] for each in attempts]
            click.echo()
            print_table(list(_COLUMNS), rows, below=("worker", "error"))
        for each in (each for some in reruns.values() for each in some):
            click.echo(terminal_text(_rerun_line(each)))


def _rerun_line(rerun: OperationTask) -> str:
    at = format_instant(rerun.changed_at)
    state = f"{rerun.state} {at}, operation {rerun.operation_id}"
    return f"{rerun.task_id} rerun as {rerun.new_id} ({state})"


def _run_time(attempt: Attempt) -> str:
    if attempt.started_at is None or attempt.finished_at is None:
        return ""
    seconds = (attempt.finished_at - attempt.started_at).total_seconds()
    return format_duration(max(0.0, seconds))
