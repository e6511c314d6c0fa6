"""`celery -A proj tasks upgrade`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._database.upgrade import upgrade
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results._history.ended_tasks import archive_options


@click.command("upgrade")
@click.option(
    "--widen-ids",
    is_flag=True,
    help="Change the ids of Celery's tables to eight bytes, whatever their size. "
    "Workers wait meanwhile, about ten seconds for a GiB.",
)
@click.option(
    "--finish",
    is_flag=True,
    help="Drop the tables and indexes that only earlier releases use. Run it when all "
    "their processes have stopped and all their tasks are in the history.",
)
@click.pass_context
def command(ctx: click.Context, widen_ids: bool, finish: bool) -> None:
    """Create the tables, or migrate them to the current schema."""
    app = current_app(ctx)
    revision = upgrade(
        tasks_database(app.conf),
        widen_ids=widen_ids,
        finish=finish,
        archive_after_s=archive_options(app).delay_s,
    )
    click.echo(f"tables are at revision {revision}")
