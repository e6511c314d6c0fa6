"""`celery -A proj tasks show`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.options import json_option
from cadasta.workertoolbox.results._commands.output import (
    current_app,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._commands.tree import in_order, workflow_tree
from cadasta.workertoolbox.results._store.store import TaskStore


@click.command("show")
@click.argument("id")
@json_option
@click.pass_context
def command(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show the workflow of the task ID as a tree."""
    with TaskStore.for_app(current_app(ctx)) as store:
        task = store.get(id)
        # The database may not know the root of an untracked task.
        workflow = store.workflow(task.root_id or id, internal=True) or [task]
    if as_json:
        print_json(task.as_json() for _, task in in_order(workflow, requested_id=id))
    else:
        make_console().print(workflow_tree(workflow, requested_id=id))
