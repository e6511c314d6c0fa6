"""`celery -A proj tasks stuck`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.completion import complete
from cadasta.workertoolbox.results._commands.list import print_tasks
from cadasta.workertoolbox.results._commands.number_table import (
    Cell,
    Column,
    duration_cell,
    print_numbers,
)
from cadasta.workertoolbox.results._commands.options import (
    Age,
    exit_code_option,
    internal_option,
    json_option,
    limit_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import check_filters, print_json
from cadasta.workertoolbox.results._store.search.unusual import UnusualTask
from cadasta.workertoolbox.results._store.store import TaskStore

_NOTHING = "no task is stuck"


@click.command("stuck", epilog="Example: celery -A proj tasks stuck --p99 --exit-code")
@click.option(
    "--older-than",
    type=Age(),
    help="Only tasks that have waited or run for longer, such as 15m, whatever is "
    "usual for their name.",
)
@click.option(
    "--p99",
    is_flag=True,
    help="Only tasks that have waited or run for longer than 99 in 100 tasks of their "
    "name in the last seven days, and for longer than --older-than (1m by default). "
    "This is the default.",
)
@click.option(
    "--name", help="Only tasks of this name.", shell_complete=complete("name")
)
@click.option(
    "--queue", help="Only tasks of this queue.", shell_complete=complete("queue")
)
@exit_code_option("a task is found")
@limit_option("tasks", order="longest first")
@internal_option
@utc_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    older_than: timedelta | None,
    p99: bool,
    exit_code: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Show tasks that have been queued or running for too long.

    Without --older-than, this is longer than is usual for their name, as with --p99.
    """
    app = current_app(ctx)
    found: Sequence[object]
    with TaskStore.for_app(app) as store:
        if p99 or older_than is None:
            p99 = True
            at_least = older_than or timedelta(minutes=1)
            found = unusual = store.stuck_by_p99(at_least=at_least, **filters)
        else:
            found = tasks = store.stuck(older_than, **filters, brief=not as_json)
        if not found:
            check_filters(app, store, name=filters["name"], queue=filters["queue"])
    if p99:
        _print_unusual(unusual, as_json=as_json)
    else:
        print_tasks(tasks, as_json=as_json, nothing=_NOTHING)
    ctx.exit(1 if exit_code and found else 0)


def _print_unusual(found: Sequence[UnusualTask], *, as_json: bool) -> None:
    if as_json:
        print_json(each.as_json() for each in found)
        return
    if not found:
        click.echo(_NOTHING)
        return
    columns = (
        *(Column("status", is_text=True), Column("for"), Column("p99")),
        *(Column("queue", is_text=True, rank=2), Column("name", is_text=True)),
        *(Column("worker", is_text=True, rank=1), Column("id", is_text=True)),
    )
    print_numbers(
        columns,
        [
            (
                Cell(each.task.status),
                duration_cell(each.for_s),
                duration_cell(each.p99_s),
                Cell(each.task.queue or ""),
                Cell(each.task.name or ""),
                Cell(each.task.worker or ""),
                Cell(each.task.id),
            )
            for each in found
        ],
    )
