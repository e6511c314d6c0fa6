"""`celery -A proj tasks quarantine …`."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import max_argument_bytes
from cadasta.workertoolbox.results._commands.output import (
    app_of,
    console,
    json_option,
    limit_option,
    print_json,
)
from cadasta.workertoolbox.results._monitor.message import Unreadable
from cadasta.workertoolbox.results._monitor.quarantine import (
    drop,
    find_quarantined,
    get_quarantined,
    replay,
)
from cadasta.workertoolbox.results._store.store import TaskStore


@click.group()
def quarantine() -> None:
    """Messages that no monitor could read, as they came."""


@quarantine.command("list")
@limit_option("messages")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, limit: int, as_json: bool) -> None:
    """Show the messages with the reason of each."""
    with TaskStore.for_app(app_of(ctx)) as store:
        found = find_quarantined(store.engine, limit=limit)
    if as_json:
        print_json(each.as_json() for each in found)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "seen", "queue", "bytes", "reason"):
        table.add_column(column, no_wrap=column != "reason")
    for each in found:
        seen = f"{each.seen_at.astimezone():%Y-%m-%d %H:%M:%S}"
        size = str(len(each.body))
        table.add_row(str(each.id), seen, each.routing_key, size, each.reason)
    console().print(table)


@quarantine.command()
@click.argument("id", type=int)
@json_option
@click.pass_context
def show(ctx: click.Context, id: int, as_json: bool) -> None:
    """Show all of the message ID."""
    with TaskStore.for_app(app_of(ctx)) as store:
        found = get_quarantined(store.engine, id).as_json()
    if as_json:
        print_json([found])
    else:
        for name, value in found.items():
            console().print(f"{name:17} {value}")


@quarantine.command("replay")
@click.argument("ids", type=int, nargs=-1, required=True)
@click.pass_context
def replay_(ctx: click.Context, ids: tuple[int, ...]) -> None:
    """Read the messages IDS again, and store those that this release can read."""
    app = app_of(ctx)
    redaction, limit = Redaction.from_app(app), max_argument_bytes(app)
    left: list[Any] = []
    with TaskStore.for_app(app) as store:
        for id in ids:
            try:
                task = replay(store.engine, id, redaction=redaction, max_bytes=limit)
            except Unreadable as error:
                left.append(id)
                click.echo(f"{id} stays: {error}")
            else:
                click.echo(f"{id} is task {task}")
    ctx.exit(1 if left else 0)


@quarantine.command("drop")
@click.argument("ids", type=int, nargs=-1, required=True)
@click.pass_context
def drop_(ctx: click.Context, ids: tuple[int, ...]) -> None:
    """Delete the messages IDS."""
    with TaskStore.for_app(app_of(ctx)) as store:
        for id in ids:
            drop(store.engine, id)
            click.echo(f"{id} deleted")
