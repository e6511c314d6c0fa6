"""`celery -A proj tasks show`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from rich.console import Console

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.options import json_option, utc_option
from cadasta.workertoolbox.results._commands.output import (
    format_instant,
    make_console,
    print_json,
    print_table,
)
from cadasta.workertoolbox.results._commands.requested_task import print_details
from cadasta.workertoolbox.results._commands.tree import (
    ERROR_WIDTH,
    workflow_tree,
)
from cadasta.workertoolbox.results._commands.workflow_lines import (
    STYLES,
    workflow_lines,
)
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results._store.operations.journal import OperationTask
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._workflows.placed_tasks import placed_tasks
from cadasta.workertoolbox.results._workflows.workflow import Workflow

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

#: Maximum number of tasks that are drawn without `--all`, and of lines about reruns.
MAX_DRAWN = 200
MAX_RERUNS = 50


@click.command(
    "show",
    epilog="Example: celery -A proj tasks show 7a61f3e6-9736-45fe-acde-3736828022cb",
)
@click.argument("id")
@click.option(
    "--summary", is_flag=True, help="Show the workflow as a whole, not its tasks."
)
@click.option(
    "--all", "draw_all", is_flag=True, help=f"Draw more than {MAX_DRAWN} tasks."
)
@click.option(
    "--details",
    is_flag=True,
    help="Print also the arguments, and the result or the traceback, of the task ID.",
)
@utc_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    id: str,
    summary: bool,
    draw_all: bool,
    details: bool,
    as_json: bool,
) -> None:
    """Show the workflow of the task or group ID as a tree.

    Below the tree are the status of the workflow, its critical path (the tasks that
    decided when it ended, marked with a diamond in the tree), and the task that it
    waits for. If the task was attempted more than once, its attempts follow as a table.

    Of a large workflow, a part is drawn: what it waits for, what failed, both ends of
    the critical path, and the first tasks below each of these. `--json` prints all.
    """
    shortened = not as_json  # The tree shows only the beginning of results.
    with TaskStore.for_app(current_app(ctx)) as store:
        workflow = store.workflow_of(id, shortened=shortened)
        attempts = [] if as_json or summary else store.attempts(id)
        shown = [] if summary else [node.task.id for _, node in workflow.walk()]
        reruns = store.reruns(shown)
        detailed = store.get(id) if details and not as_json else None
    if as_json:
        new_ids = {id: [each.new_id for each in some] for id, some in reruns.items()}
        records = [workflow] if summary else placed_tasks(workflow, new_ids)
        print_json(each.as_json() for each in records)
        return
    console = make_console()
    if not summary:
        limit = None if draw_all else MAX_DRAWN
        console.print(workflow_tree(workflow, requested_id=id, limit=limit))
        if len(workflow) > 1:
            console.print()
    if summary or len(workflow) > 1:
        _print_lines(console, workflow)
    if len(attempts) > 1:
        rows = [[text(each) for text in _COLUMNS.values()] for each in attempts]
        click.echo()
        print_table(list(_COLUMNS), rows, below=("worker", "error"))
    _print_reruns([each for some in reruns.values() for each in some])
    if detailed is not None:
        click.echo()
        print_details(detailed)


def _print_lines(console: Console, workflow: Workflow) -> None:
    first, *others = workflow_lines(workflow)
    console.print(first, style=STYLES[workflow.status])
    for line in others:
        console.print(line)


def _print_reruns(reruns: Sequence[OperationTask]) -> None:
    for each in reruns[:MAX_RERUNS]:
        click.echo(terminal_text(_rerun_line(each)))
    if len(reruns) > MAX_RERUNS:
        click.echo(f"… {len(reruns) - MAX_RERUNS:,} more reruns")


def _rerun_line(rerun: OperationTask) -> str:
    at = format_instant(rerun.changed_at)
    state = f"{rerun.state} {at}, operation {rerun.operation_id}"
    return f"{rerun.task_id} rerun as {rerun.new_id} ({state})"


def _run_time(attempt: Attempt) -> str:
    if attempt.started_at is None or attempt.finished_at is None:
        return ""
    seconds = (attempt.finished_at - attempt.started_at).total_seconds()
    return duration_text(max(0.0, seconds))
