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
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import (
    check_filters,
    current_app,
)
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
@utc_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, as_json: bool, older_than: timedelta, **filters: Any
) -> None:
    """Show tasks that have been queued or running for too long."""
    app = current_app(ctx)
    with TaskStore.for_app(app) as store:
        found = store.stuck(older_than, **filters, brief=not as_json)
        if not found:
            check_filters(app, store, name=filters["name"], queue=filters["queue"])
    print_tasks(found, as_json=as_json)
