"""`celery -A proj tasks stuck`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from cadasta.workertoolbox.results._commands.list import print_tasks
from cadasta.workertoolbox.results._commands.options import (
    Age,
    internal_option,
    json_option,
    limit_option,
)
from cadasta.workertoolbox.results._commands.output import current_app
from cadasta.workertoolbox.results._store.store import TaskStore


@click.command("stuck")
@click.option(
    "--older-than",
    type=Age(),
    required=True,
    help="Only tasks that have waited or run for longer, such as 15m.",
)
@click.option("--name", help="Only tasks of this name.")
@click.option("--queue", help="Only tasks of this queue.")
@limit_option("tasks", order="longest first")
@internal_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, as_json: bool, older_than: timedelta, **filters: Any
) -> None:
    """Show tasks that have been queued or running for too long."""
    with TaskStore.for_app(current_app(ctx)) as store:
        print_tasks(store.stuck(older_than, **filters), as_json=as_json)
