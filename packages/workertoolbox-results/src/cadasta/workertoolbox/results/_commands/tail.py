"""`celery -A proj tasks tail`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.options import (
    Duration,
    internal_option,
    json_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import (
    format_instant,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._commands.queries import query_option
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._task import Task, failure_text

#: Maximum number of characters of an error in a line.
_ERROR_WIDTH = 120

#: Colours of statuses on a terminal.
_COLOURS = {"SUCCESS": "green", "FAILURE": "red", "LOST": "red", "REVOKED": "yellow"}


@click.command(
    "tail",
    epilog="Example: celery -A proj tasks tail --query 'queue:export status:failure'",
)
@query_option
@click.option(
    "--every",
    type=Duration(max_s=3600),
    default="1s",
    show_default=True,
    help="How long to wait between two queries of the database.",
)
@internal_option
@utc_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, query: str, every: float, internal: bool, as_json: bool
) -> None:
    """Show new tasks, and tasks that end, until interrupted."""
    console = make_console()
    with TaskStore.for_app(current_app(ctx)) as store:
        follow = store.follow(query, internal=internal, every_s=every)
        try:
            for tasks in follow:
                if as_json:
                    print_json(task.as_json() for task in tasks)
                    continue
                for task in tasks:
                    style = _COLOURS.get(task.status)
                    console.out(_line(task), style=style, highlight=False)
        except KeyboardInterrupt:
            return  # This is how a user ends it.


def _line(task: Task) -> str:
    at = task.finished_at or task.started_at or task.scheduled_at
    took = duration_text(task.run_s)
    error = failure_text(task.result) if task.status != "SUCCESS" else None
    parts = (
        format_instant(at),
        f"{task.status:9}",
        *(
            task.queue or "",
            task.name or "",
            task.id,
            took,
            (error or "")[:_ERROR_WIDTH],
        ),
    )
    return terminal_text("  ".join(part for part in parts if part))
