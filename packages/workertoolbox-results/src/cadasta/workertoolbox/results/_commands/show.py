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
    """Show the workflow of the task or group ID as a tree."""
    shortened = not as_json  # The tree shows only the beginning of results.
    with TaskStore.for_app(current_app(ctx)) as store:
        task = store.find(id, shortened=shortened)
        root_id = id if task is None else task.root_id or task.group_id or id
        workflow = store.workflow(root_id, internal=True, shortened=shortened)
        if not workflow:
            # The database may not know the root of an untracked task.
            workflow = [task or store.get(id, shortened=shortened)]
    if as_json:
        print_json(task.as_json() for _, task in in_order(workflow, requested_id=id))
    else:
        make_console().print(workflow_tree(workflow, requested_id=id))
