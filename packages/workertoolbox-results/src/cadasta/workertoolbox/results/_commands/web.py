"""`celery -A proj tasks web`."""

from __future__ import annotations

from typing import Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results.web.serving.command import (
    ServeOptions,
    serve_options,
    serve_store,
)
from cadasta.workertoolbox.results.web.serving.extra import installed_extra


@click.command("web", epilog="Example: celery -A proj tasks web --bind 127.0.0.1:8555")
@serve_options
@click.option(
    "--operator",
    is_flag=True,
    help="Let users change something: see --allow. Without a login, only users of this "
    "machine can.",
)
@click.option(
    "--allow",
    metavar="RIGHTS",
    help="With --operator: what users may do, by default `errors,rerun`. `errors`: "
    "resolve and ignore groups of errors; `rerun`: run tasks again.",
)
@click.pass_context
def command(
    ctx: click.Context, /, operator: bool, allow: str | None, **options: Any
) -> None:
    """Serve web pages about all tasks, until interrupted.

    The pages only read, and the role of the database needs no other right, unless with
    --operator.
    """
    app = current_app(ctx)
    given = ServeOptions(**options)
    if allow is not None and not operator:
        raise click.UsageError("--allow needs --operator")
    if not operator:
        serve_store(tasks_database(app.conf), given)
        return
    with installed_extra():
        from cadasta.workertoolbox.results.web.access.rights import RIGHTS
        from cadasta.workertoolbox.results.web.operating.operator import Operator
    rights = [*RIGHTS] if allow is None else allow.replace(",", " ").split()
    serve_store(tasks_database(app.conf), given, Operator(app, rights=rights))
