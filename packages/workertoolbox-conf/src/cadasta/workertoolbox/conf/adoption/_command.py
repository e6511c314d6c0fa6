"""The command `celery -A proj tasks adopt`."""

from __future__ import annotations

from collections.abc import Iterator

import click
from celery import Celery

from cadasta.workertoolbox.conf._app_argument import app_argument
from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.conf._errors import ConfError
from cadasta.workertoolbox.conf.adoption._plan import (
    describe,
    describe_adopted,
    queues_of_tasks,
)
from cadasta.workertoolbox.routing import RoutingError


@click.command("adopt")
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="A queue that only callers name. Can be repeated.",
)
@click.pass_context
def command(ctx: click.Context, queues: tuple[str, ...]) -> None:
    """Print how an app that has its configuration already adopts the toolbox.

    Nothing is changed, and no connection is made. The modules of the tasks are
    imported, because tasks may name queues. The exit code is 0 too if the app has the
    toolbox already.
    """
    app: Celery = ctx.obj.app
    if app.conf.get("PLATFORM_QUEUE_NAME"):
        lines = describe_adopted(app, app_argument())
    else:
        lines = _describe(app, queues)
    try:
        for line in lines:
            click.echo(line)
    except (ConfError, RoutingError) as error:
        raise click.ClickException(str(error)) from error


def _describe(app: Celery, queues: tuple[str, ...]) -> Iterator[str]:
    further = [*dict.fromkeys((*queues, *queues_of_tasks(app)))]
    config = Config.from_app(app, further)
    yield from describe(app, config, further, app_argument())
