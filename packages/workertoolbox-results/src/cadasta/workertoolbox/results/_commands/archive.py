"""`celery -A proj tasks archive`."""

from __future__ import annotations

import logging
from threading import Event

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    translate_errors,
)
from cadasta.workertoolbox.results._database.schema import check_schema
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results._history.ended_tasks import archive_options
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._monitor.signals import stop_on_signals


@click.command("archive")
@click.option(
    "--once",
    is_flag=True,
    help="End when all tasks that ended more than ARCHIVE_AFTER ago are archived.",
)
@click.pass_context
def command(ctx: click.Context, once: bool) -> None:
    """Move ended tasks to the history, as monitors do.

    Every monitor does this. The command is for databases to which no monitor writes, or
    for a cron job with --once. Several archivers may run: one of them works at a time.
    """
    app = current_app(ctx)
    engine = open_engine(database_url(tasks_database(app.conf)), pool_size=1)
    stopping = Event()
    archiving = Archiving(engine, archive_options(app), should_stop=stopping.is_set)
    try:
        check_schema(engine)
        if once:
            with translate_errors(engine):
                archived = archiving.run_once(to_end=True)
            note = "; another archiver is at work" if archiving.met_another else ""
            click.echo(f"{archived} tasks archived{note}")
            return
        logging.basicConfig(
            level="INFO", format="[%(asctime)s: %(levelname)s] %(message)s"
        )
        stop_on_signals(stopping.set)
        archiving.run()
    finally:
        engine.dispose()
