"""`celery -A proj tasks quarantine …`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import max_argument_bytes
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
from cadasta.workertoolbox.results._monitor.quarantine import (
    drop,
    get_quarantined,
    replay,
)
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._safe_text import json_text, terminal_text
from cadasta.workertoolbox.results._store.store import TaskStore


@click.group("quarantine")
def command() -> None:
    """Show, replay or delete the messages that no monitor could read."""


@command.command("list")
@limit_option("messages")
@utc_option
@json_option
@click.pass_context
def list_messages(ctx: click.Context, /, limit: int, as_json: bool) -> None:
    """Show the newest messages, each with the reason why it is in quarantine."""
    with TaskStore.for_app(current_app(ctx)) as store:
        found = store.quarantined(limit=limit)
    if as_json:
        print_json(each.as_json() for each in found)
        return
    rows = [
        [
            str(each.id),
            format_instant(each.seen_at),
            each.routing_key or "",
            str(each.bytes),
            each.reason,
        ]
        for each in found
    ]
    print_table(
        ("id", "seen", "queue", "bytes", "reason"),
        rows,
        below=("reason",),
        nothing="no message is in quarantine",
    )


@command.command("show")
@click.argument("id", type=int)
@json_option
@click.pass_context
def show_message(ctx: click.Context, id: int, as_json: bool) -> None:
    """Show the message with the number ID, unchanged."""
    with TaskStore.for_app(current_app(ctx)) as store:
        found = get_quarantined(store.engine, id).as_json()
    if as_json:
        print_json([found])
    else:
        for name, value in found.items():
            text = value if isinstance(value, str) else json_text(value)
            click.echo(f"{name:17} {terminal_text(text)}")


@command.command("replay")
@click.argument("ids", type=int, nargs=-1, required=True)
@click.pass_context
def replay_messages(ctx: click.Context, ids: tuple[int, ...]) -> None:
    """Read the messages with the numbers IDS again, and store their tasks.

    A message that this release cannot read either stays in quarantine.
    """
    app = current_app(ctx)
    redaction, limit = Redaction.from_app(app), max_argument_bytes(app)
    unreadable: list[int] = []
    with TaskStore.for_app(app) as store:
        for id in ids:
            try:
                task = replay(store.engine, id, redaction=redaction, max_bytes=limit)
            except UnreadableMessage as error:
                unreadable.append(id)
                click.echo(f"{id} stays in quarantine: {terminal_text(str(error))}")
            else:
                click.echo(f"{id} stored as task {terminal_text(task)}")
    ctx.exit(1 if unreadable else 0)


@command.command("drop")
@click.argument("ids", type=int, nargs=-1, required=True)
@click.pass_context
def drop_messages(ctx: click.Context, ids: tuple[int, ...]) -> None:
    """Delete the messages with the numbers IDS."""
    with TaskStore.for_app(current_app(ctx)) as store:
        for id in ids:
            drop(store.engine, id)
            click.echo(f"{id} deleted")
