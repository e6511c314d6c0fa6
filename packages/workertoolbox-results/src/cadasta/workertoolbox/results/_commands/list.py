"""`celery -A proj tasks list`."""

from __future__ import annotations

from typing import Any

import click

from cadasta.workertoolbox.results._commands.options import (
    internal_option,
    json_option,
    limit_option,
)
from cadasta.workertoolbox.results._commands.output import current_app
from cadasta.workertoolbox.results._commands.table import print_tasks
from cadasta.workertoolbox.results._store.store import TaskStore


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
