"""`celery -A proj tasks upgrade`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.output import current_app
from cadasta.workertoolbox.results._database.upgrade import upgrade


@click.command("upgrade")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Create the tables, or migrate them to the current schema."""
    revision = upgrade(current_app(ctx).conf.result_backend)
    click.echo(f"tables are at revision {revision}")
