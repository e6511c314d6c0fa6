"""`celery -A proj tasks upgrade`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.output import current_app
from cadasta.workertoolbox.results._database.upgrade import upgrade


@click.command("upgrade")
@click.option(
    "--widen-ids",
    is_flag=True,
    help="Change the ids of Celery's tables to eight bytes, whatever their size. "
    "Workers wait meanwhile, about ten seconds for a GiB.",
)
@click.pass_context
def command(ctx: click.Context, widen_ids: bool) -> None:
    """Create the tables, or migrate them to the current schema."""
    url = current_app(ctx).conf.result_backend
    revision = upgrade(url, widen_ids=widen_ids)
    click.echo(f"tables are at revision {revision}")
