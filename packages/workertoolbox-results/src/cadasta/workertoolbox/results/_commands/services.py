"""`celery -A proj tasks services`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.number_table import (
    Cell,
    Column,
    age_cell,
    print_numbers,
)
from cadasta.workertoolbox.results._commands.options import (
    Instant,
    internal_option,
    json_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import print_json
from cadasta.workertoolbox.results._store.fleet.routes import Route
from cadasta.workertoolbox.results._store.store import TaskStore

#: Number of workers that are shown of each row.
SHOWN_WORKERS = 2


@click.command("services", epilog="Example: celery -A proj tasks services --since 7d")
@click.option(
    "--since",
    type=Instant(),
    help="Only tasks published since then, and live ones.  [default: 24h]",
)
@internal_option
@utc_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, since: datetime | None, internal: bool, as_json: bool
) -> None:
    """Show which services send and which workers run each task.

    Only the latest tasks of each name are read. Kubernetes pods whose names differ only
    at the end are shown as one.
    """
    with TaskStore.for_app(current_app(ctx)) as store:
        found = store.services(since=since, internal=internal)
    if as_json:
        print_json(each.as_json() for each in found)
    elif found:
        _print(found, datetime.now(UTC))
    else:
        click.echo("no tasks were published")


def _print(found: Sequence[Route], now: datetime) -> None:
    columns = (
        *(Column("sender", is_text=True), Column("task", is_text=True)),
        *(Column("queue", is_text=True), Column("workers", is_text=True)),
        Column("last sent", rank=1),
    )
    print_numbers(
        columns,
        [
            (
                Cell(each.sender or "(untracked)", "" if each.sender else "yellow"),
                Cell(each.name),
                Cell(each.queue),
                _workers(each),
                age_cell(each.last_at, now),
            )
            for each in found
        ],
    )


def _workers(route: Route) -> Cell:
    if not route.workers:
        return Cell("not run yet", "yellow")
    others = len(route.workers) - SHOWN_WORKERS
    text = ", ".join(route.workers[:SHOWN_WORKERS])
    return Cell(f"{text} and {others:,} more" if others > 0 else text)
