"""`celery -A proj tasks leave`."""

from __future__ import annotations

import click
from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.results._commands.output import current_app
from cadasta.workertoolbox.results._monitor.broker import monitor_queue
from cadasta.workertoolbox.results._monitor.queue_removal import (
    QueueUse,
    open_channel,
    read_use,
    remove,
)
from cadasta.workertoolbox.results._safe_text import terminal_text


@click.command("leave")
@click.option(
    "--queue",
    "name",
    help="A former monitor queue: its name before PLATFORM_QUEUE_NAME changed.",
)
@click.option("--force", is_flag=True, help="Also delete copies that are not read.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def command(ctx: click.Context, name: str | None, force: bool, yes: bool) -> None:
    """Delete the monitor queue and its bindings, when the toolbox is dropped.

    Before, stop the monitors and every service that publishes with the toolbox: each
    would create the queue again. The command refuses to delete copies that no monitor
    has read. Tables and history stay.
    """
    app = current_app(ctx)
    queue = monitor_queue(app) if name is None else _former_queue(app, name)
    shown = f"queue {terminal_text(repr(queue.name))}"
    with open_channel(app) as channel:
        use = read_use(queue, channel)
        if use is None:
            click.echo(f"{shown} does not exist")
            return
        _check_use(shown, use, force=force)
        copies = f" with {_counted(use.unread)}" if use.unread else ""
        if not yes:
            click.confirm(f"Delete {shown} and its bindings{copies}?", abort=True)
        remove(queue, channel)
    click.echo(f"{shown} and its bindings are deleted{copies}")


def _former_queue(app: Celery, name: str) -> Queue:
    """Return the monitor queue as it was with another name.

    Raises:
        click.UsageError: It is a work queue.
    """
    queue = monitor_queue(app)
    if name in app.amqp.queues and name != queue.name:
        raise click.UsageError(f"{name!r} is a work queue, not a former monitor queue")
    former: Queue = type(queue)(**queue.as_dict() | {"name": name})
    return former


def _check_use(shown: str, use: QueueUse, *, force: bool) -> None:
    if use.consumers:
        raise click.ClickException(f"a monitor consumes {shown}; stop it first")
    if use.unread and not force:
        raise click.ClickException(
            f"{shown} holds {_counted(use.unread)}; run a monitor until it is empty, "
            "or add --force to lose them"
        )


def _counted(copies: int) -> str:
    return "1 unread copy" if copies == 1 else f"{copies} unread copies"
