"""The command `celery tasks init`."""

from __future__ import annotations

import keyword
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from cadasta.workertoolbox.conf._config import Config
from cadasta.workertoolbox.conf._starter.files import Plan, render_files
from cadasta.workertoolbox.conf._starter.servers import (
    BROKERS,
    DATABASES,
    EMBEDDED,
    POSTGRESQL,
    SQLITE,
)
from cadasta.workertoolbox.conf._starter.writing import find_existing, write_new
from cadasta.workertoolbox.routing import RoutingError

#: A prefix of variables that no environment has: only the arguments are checked.
_NO_ENVIRONMENT = "WORKERTOOLBOX_INIT_CHECK"


def _check_project(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """Return the name of the package, if it can be one."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise click.BadParameter(f"{name!r} cannot be the name of a Python package")
    if not Path(name).exists() and (
        name in sys.stdlib_module_names or find_spec(name) is not None
    ):
        raise click.BadParameter(
            f"a package {name!r} is installed already and would be hidden; choose "
            "another name, or run the command in the folder that contains the package"
        )
    return name


@click.command("init")
@click.argument("project", default="proj", callback=_check_project)
@click.option(
    "--broker",
    type=click.Choice(list(BROKERS)),
    required=True,
    help="The broker; with `embedded`, messages and results are in a folder.",
)
@click.option(
    "--database",
    type=click.Choice(list(DATABASES)),
    help="The database. Default: postgresql, or sqlite with `--broker embedded`.",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="A work queue. Can be repeated. Default: the name of the project.",
)
def command(
    project: str, broker: str, database: str | None, queues: tuple[str, ...]
) -> None:
    """Write the first files of a service, in the working directory.

    They are a package PROJECT (`proj` by default) with a commented configuration and a
    task, `.env.example` with the variables for broker and database, and, for servers, a
    Docker Compose file for development. No file is overwritten.
    """
    if broker == EMBEDDED and database == POSTGRESQL:
        raise click.UsageError(
            "the embedded broker is for one machine without a server; leave out "
            "--database, or choose another --broker"
        )
    default = SQLITE if broker == EMBEDDED else POSTGRESQL
    plan = Plan(project, queues or (project,), broker, database or default)
    try:
        Config(plan.queues, ENV_PREFIX=_NO_ENVIRONMENT)
    except RoutingError as error:
        raise click.UsageError(str(error)) from error
    files = render_files(plan)
    folder = Path.cwd()
    if existing := find_existing(folder, files):
        raise click.ClickException(
            f"{', '.join(existing)} exist{'' if existing[1:] else 's'} already, and "
            "nothing was written; move what is there, or run the command in another "
            "folder"
        )
    package = f"{project}/__init__.py"
    if not find_existing(folder, {package: ""}):
        files = {package: "", **files}
    try:
        write_new(folder, files)
    except OSError as error:
        raise click.ClickException(f"cannot write the files: {error}") from error
    for path in files:
        click.echo(f"wrote {path}")
    click.echo(_next_steps(plan))


def _next_steps(plan: Plan) -> str:
    """Return the next commands, each with what it does."""
    commands = []
    if missing := [
        server.extra
        for server in plan.servers
        if server.client and find_spec(server.client) is None
    ]:
        names = ",".join(missing)
        commands.append((f'pip install "workertoolbox-conf[{names}]"', "the clients"))
    if plan.needs_containers:
        commands.append(("docker compose up --detach --wait", "start the servers"))
    if plan.broker != EMBEDDED:
        load = "cp .env.example .env && set -a && . ./.env && set +a"
        commands.append((load, "set the variables"))
    app = f"celery -A {plan.project}"
    if plan.broker == EMBEDDED:
        commands.append((f"{app} tasks upgrade", "create the tables"))
        terminal = "in another terminal"
    else:
        create = f"{app} tasks upgrade && {app} tasks check"
        commands.append((create, "create the tables, and check broker and database"))
        terminal = "in another terminal, with the variables"
    commands.append((f"{app} worker", "run tasks"))
    commands.append((f"{app} tasks monitor", f"{terminal}: store copies"))
    lines = [f"  {words}\n      # {meaning}" for words, meaning in commands]
    return "\n".join(["", "Next:", *lines])
