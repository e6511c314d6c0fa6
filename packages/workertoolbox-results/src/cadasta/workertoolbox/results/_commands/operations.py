"""`celery -A proj tasks operations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.options import (
    json_option,
    limit_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import (
    format_instant,
    print_json,
    print_table,
)
from cadasta.workertoolbox.results._reruns.publishing import entries_of
from cadasta.workertoolbox.results._store.operations.journal import (
    PUBLISHING,
    REFUSED,
    Operation,
    OperationTask,
)
from cadasta.workertoolbox.results._store.store import TaskStore

#: The columns of the list, each with a function that returns its text.
_COLUMNS: dict[str, Callable[[Operation], str]] = {
    "started": lambda each: format_instant(each.started_at),
    "operation": lambda each: each.id,
    "kind": lambda each: each.kind,
    "by": lambda each: each.made_by,
    "published": lambda each: _published(each),
    "left": lambda each: _left(each),
    "reason": lambda each: each.reason or "",
    "selection": lambda each: each.selection,
}

#: The same for the tasks of one operation.
_TASK_COLUMNS: dict[str, Callable[[OperationTask], str]] = {
    "changed": lambda each: format_instant(each.changed_at),
    "state": lambda each: "in doubt" if each.state == PUBLISHING else each.state,
    "name": lambda each: each.name or "",
    "id": lambda each: each.task_id,
    "new id": lambda each: "" if each.state == REFUSED else each.new_id,
    "note": lambda each: each.note or "",
}


@click.command("operations", epilog="Example: celery -A proj tasks operations")
@click.argument("id", required=False, metavar="[OPERATION]")
@limit_option("operations")
@utc_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, id: str | None, limit: int, as_json: bool) -> None:
    """Show which tasks were rerun and which errors changed, by whom and why.

    With OPERATION, show its tasks.
    """
    with TaskStore.for_app(current_app(ctx)) as store:
        if id is not None:
            store.operation(id)
            tasks = [*entries_of(store, id)]
            below = ("id", "new id", "note")
            nothing = "it has published no task"
            _print(tasks, _TASK_COLUMNS, below, nothing, as_json=as_json)
            return
        found = store.operations(limit=limit)
    nothing = "no task was rerun, and no error was changed"
    _print(found, _COLUMNS, ("reason", "selection"), nothing, as_json=as_json)


def _print(
    records: Sequence[Any],
    columns: Mapping[str, Callable[[Any], str]],
    below: Sequence[str],
    nothing: str,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json(each.as_json() for each in records)
    else:
        rows = [[text(each) for text in columns.values()] for each in records]
        print_table(list(columns), rows, below=below, nothing=nothing)


def _published(operation: Operation) -> str:
    """Return how many tasks were published; nothing for a change of an error group."""
    return f"{operation.published} of {operation.tasks}" if operation.tasks else ""


def _left(operation: Operation) -> str:
    """Return what was not published, in words."""
    parts = (
        (operation.refused, "refused"),
        (operation.doubtful, "in doubt"),
        (operation.waiting, "waiting"),
    )
    return ", ".join(f"{count} {state}" for count, state in parts if count)
