"""`celery -A proj tasks …`: commands of this package in Celery's own command line."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click
from celery import Celery
from rich.table import Table

from cadasta.workertoolbox.results._commands.options import Age
from cadasta.workertoolbox.results._commands.output import (
    app_of,
    console,
    json_option,
    limit_option,
    print_json,
)
from cadasta.workertoolbox.results._commands.purge import purge
from cadasta.workertoolbox.results._commands.quarantine import quarantine
from cadasta.workertoolbox.results._commands.tree import (
    duration,
    in_order,
    workflow_tree,
)
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.upgrade import upgrade as upgrade_database
from cadasta.workertoolbox.results._errors import MetricsUnavailable, ResultsError
from cadasta.workertoolbox.results._monitor.consumer import Monitor
from cadasta.workertoolbox.results._monitor.signals import stop_on_signals
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from cadasta.workertoolbox.results._store.recent import RecentCountsCache
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.task import Task

#: The entry points by which other distributions add commands to ours.
GROUP = "workertoolbox.commands"


class _Commands(click.Group):
    """Errors of ours are one line and exit code 1.

    The commands of other distributions are imported when one of them is asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_others()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and (other := _others().get(cmd_name)):
            command = other.load()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ResultsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands)
def tasks() -> None:
    """Every task that was scheduled, and what became of it."""


tasks.add_command(purge)
tasks.add_command(quarantine)


def _others() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _finite(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds")
    return value


def _address(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise click.BadParameter(f"{value!r} is no port; write 9187 or 127.0.0.1:9187")
    return host.strip("[]") or "0.0.0.0", int(port)


def _serve_figures(
    app: Celery, host: str, port: int
) -> Callable[[CommittedBatch], object]:
    try:
        from cadasta.workertoolbox.results._monitor.metrics import Metrics
    except ImportError as error:
        raise MetricsUnavailable(
            f"--prometheus needs a library ({error}); "
            "pip install workertoolbox-results[prometheus]"
        ) from error
    engine = open_engine(database_url(app.conf.result_backend), pool_size=1)
    metrics = Metrics(RecentCountsCache(engine).get)
    metrics.serve(host, port)
    return metrics.add


def _in_folder(
    ctx: click.Context, parameter: click.Parameter, value: Path | None
) -> Path | None:
    if value is not None and not os.access(value.parent, os.W_OK):
        raise click.BadParameter(f"no file can be made in {str(value.parent)!r}")
    return value


@tasks.command()
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Create the tables, or bring them up to date."""
    revision = upgrade_database(app_of(ctx).conf.result_backend)
    click.echo(f"tables are at revision {revision}")


@tasks.command()
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="Most messages that are written and acknowledged together.",
)
@click.option(
    "--batch-wait",
    type=click.FloatRange(0, 3600),
    callback=_finite,
    default=0.2,
    show_default=True,
    help="Longest time in seconds that a message waits for others.",
)
@click.option(
    "--prometheus",
    metavar="[HOST:]PORT",
    callback=_address,
    help="Where to serve figures for Prometheus; on every address if HOST is left out.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_in_folder,
    help="Touched every few seconds while broker and database can be reached.",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    show_default=True,
)
@click.pass_context
def monitor(
    ctx: click.Context,
    batch_size: int,
    batch_wait: float,
    prometheus: tuple[str, int] | None,
    health_file: Path | None,
    loglevel: str,
) -> None:
    """Write the copy of every task message to the database, until stopped.

    SIGTERM and SIGINT stop it cleanly: what it holds is written first. A second one
    ends it at once.
    """
    logging.basicConfig(
        level=loglevel.upper(), format="[%(asctime)s: %(levelname)s] %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    app = app_of(ctx)
    worker = Monitor(
        app,
        batch_size=batch_size,
        batch_wait_s=batch_wait,
        health_file=health_file,
        on_commit=None if prometheus is None else _serve_figures(app, *prometheus),
    )

    stop_on_signals(worker.stop)
    worker.run()


@tasks.command("list")
@click.option("--name", help="Only tasks of this name.")
@click.option("--status", help="Only tasks of this status, such as FAILURE.")
@click.option("--queue", help="Only tasks of this queue.")
@click.option("--worker", help="Only tasks that this worker ran, as celery@host.")
@limit_option("tasks")
@click.option("--internal", is_flag=True, help="Show Celery's own tasks too.")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, **filters: Any) -> None:
    """Show the newest tasks."""
    with TaskStore.for_app(app_of(ctx)) as store:
        _print(store.list(**filters), as_json=as_json)


@tasks.command()
@click.option(
    "--older-than",
    type=Age(),
    required=True,
    help="Only tasks that wait or run for longer, as 15m.",
)
@click.option("--name", help="Only tasks of this name.")
@click.option("--queue", help="Only tasks of this queue.")
@limit_option("tasks", order="longest first")
@click.option("--internal", is_flag=True, help="Show Celery's own tasks too.")
@json_option
@click.pass_context
def stuck(
    ctx: click.Context, /, as_json: bool, older_than: timedelta, **filters: Any
) -> None:
    """Show tasks that are queued or started for long."""
    with TaskStore.for_app(app_of(ctx)) as store:
        _print(store.stuck(older_than, **filters), as_json=as_json)


@tasks.command()
@click.argument("id")
@json_option
@click.pass_context
def show(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show the workflow of the task ID as a tree."""
    with TaskStore.for_app(app_of(ctx)) as store:
        task = store.get(id)
        # A task that no monitor saw may not know its root.
        workflow = store.workflow(task.root_id or id, internal=True) or [task]
    if as_json:
        print_json(task.as_json() for _, task in in_order(workflow, asked=id))
    else:
        console().print(workflow_tree(workflow, asked=id))


def _print(found: Sequence[Task], *, as_json: bool) -> None:
    if as_json:
        print_json(task.as_json() for task in found)
    else:
        _print_table(found)


def _print_table(found: Sequence[Task]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("scheduled", "status", "queue", "name", "wait", "run"):
        table.add_column(column, no_wrap=True)
    # Never cut: it is what `show` wants.
    longest = max((len(task.id) for task in found), default=0)
    table.add_column("id", no_wrap=True, min_width=longest)
    for task in found:
        table.add_row(
            _scheduled(task),
            task.status,
            task.queue,
            task.name,
            *("" if s is None else duration(s) for s in (task.wait_s, task.run_s)),
            task.id,
        )
    console().print(table)


def _scheduled(task: Task) -> str:
    if task.scheduled_at is not None:
        return f"{task.scheduled_at.astimezone():%Y-%m-%d %H:%M:%S}"
    return "" if task.tracked else "untracked"
