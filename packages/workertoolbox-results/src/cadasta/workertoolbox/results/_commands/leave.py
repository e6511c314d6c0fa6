"""`celery -A proj tasks leave`."""

from __future__ import annotations

import click
from celery import Celery
from kombu import Queue

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._monitor.broker import monitor_queue, open_channel
from cadasta.workertoolbox.results._monitor.queue_removal import (
    check_removable,
    read_use,
    remove,
    unbind,
)
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._safe_text import terminal_text

_EXCHANGE_STAYS = (
    "exchange 'task_exchange' stays: to it, old workers publish the retries of tasks "
    "that the toolbox has sent"
)


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
    would create the queue again. The command first unbinds the queue, so that no more
    copies arrive. It refuses to delete copies that no monitor has read: read them by
    `tasks monitor --until-empty`, and run the command again. Tables and history stay,
    and on RabbitMQ the exchange that delayed tasks and retries name.
    """
    app = current_app(ctx)
    queue = monitor_queue(app) if name is None else _former_queue(app, name)
    shown = f"queue {terminal_text(repr(queue.name))}"
    with open_channel(app) as channel:
        check_removable(queue, channel)
        use = read_use(queue, channel)
        if use is None:
            click.echo(f"{shown} does not exist")
            return
        if use.consumers:
            raise click.ClickException(f"a monitor consumes {shown}; stop it first")
        if not yes:
            click.confirm(_question(shown, use.unread, force=force), abort=True)
        unbind(queue, channel)
        # Old producers may have filled it until now.
        use = read_use(queue, channel) or use
        if use.unread and not force:
            raise click.ClickException(_unbound(shown, use.unread))
        copies = f" with {_unread_copies(use.unread)}" if use.unread else ""
        remove(queue, channel)
        click.echo(f"{shown} and its bindings are deleted{copies}")
        if channel.connection.client.transport.driver_type == "amqp":
            click.echo(_EXCHANGE_STAYS)


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


def _question(shown: str, unread: int, *, force: bool) -> str:
    if unread and not force:
        return f"Unbind {shown}, which holds {_unread_copies(unread)}?"
    copies = f" with {_unread_copies(unread)}" if unread else ""
    return f"Delete {shown} and its bindings{copies}?"


def _unbound(shown: str, unread: int) -> str:
    return (
        f"{shown} is unbound, so that no more copies arrive, but holds "
        f"{_unread_copies(unread)}; run `tasks monitor --until-empty`, which reads "
        "them, and then this again, or add --force to lose them"
    )


def _unread_copies(number: int) -> str:
    return counted(number, "unread copy", "unread copies")
