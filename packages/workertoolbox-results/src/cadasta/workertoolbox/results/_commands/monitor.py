"""`celery -A proj tasks monitor`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import click
from celery import Celery

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.options import Duration
from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results._errors import MetricsUnavailable
from cadasta.workertoolbox.results._monitor.consumer import Monitor
from cadasta.workertoolbox.results._monitor.file_limit import explain_file_limit
from cadasta.workertoolbox.results._monitor.health import find_path_problem
from cadasta.workertoolbox.results._monitor.signals import stop_on_signals
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch

#: Longest time in seconds that a message may wait for others.
MAX_BATCH_WAIT_S = 3600.0

#: Where metrics are served by default. They hold the names of tasks and queues.
DEFAULT_HOST = "127.0.0.1"


def _address(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise click.BadParameter(f"{value!r} is not a port; write 9187 or 0.0.0.0:9187")
    return host.strip("[]") or DEFAULT_HOST, int(port)


def _writable(
    ctx: click.Context, parameter: click.Parameter, value: Path | None
) -> Path | None:
    if value is None:
        return None
    if not os.access(value.parent, os.W_OK):
        raise click.BadParameter(f"cannot create a file in {str(value.parent)!r}")
    if (problem := find_path_problem(value)) is not None:
        raise click.BadParameter(f"{str(value)!r} {problem}; name another file")
    return value


@click.command("monitor")
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="Maximum number of messages to write and acknowledge together.",
)
@click.option(
    "--batch-wait",
    type=Duration(max_s=MAX_BATCH_WAIT_S),
    default="0.2s",
    show_default=True,
    help="Longest time that a message waits for others to be written with.",
)
@click.option(
    "--until-empty",
    is_flag=True,
    help="End when the queue is empty, and do not bind it, for `tasks leave`.",
)
@click.option(
    "--prometheus",
    metavar="[HOST:]PORT",
    callback=_address,
    help="Serve metrics for Prometheus here; without HOST, for this machine only. "
    "0.0.0.0 is every address.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_writable,
    help="Touch this file every few seconds while broker and database answer.",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    show_default=True,
)
@click.pass_context
def command(
    ctx: click.Context,
    batch_size: int,
    batch_wait: float,
    until_empty: bool,
    prometheus: tuple[str, int] | None,
    health_file: Path | None,
    loglevel: str,
) -> None:
    """Write the copy of every task message to the database, until stopped.

    On SIGTERM or SIGINT the monitor writes the messages that it holds, then ends. A
    second signal ends it at once.
    """
    logging.basicConfig(
        level=loglevel.upper(), format="[%(asctime)s: %(levelname)s] %(message)s"
    )
    app = current_app(ctx)
    with explain_file_limit():
        monitor = Monitor(
            app,
            batch_size=batch_size,
            batch_wait_s=batch_wait,
            until_empty=until_empty,
            health_file=health_file,
            on_commit=None if prometheus is None else _serve_metrics(app, *prometheus),
        )
        stop_on_signals(monitor.stop)
    monitor.run()


def _serve_metrics(
    app: Celery, host: str, port: int
) -> Callable[[CommittedBatch], object]:
    try:
        from cadasta.workertoolbox.results._fleet_metrics.refresh import FleetMetrics
        from cadasta.workertoolbox.results._monitor.metrics import Metrics
    except ImportError as error:
        raise MetricsUnavailable(
            f"--prometheus needs the library prometheus-client ({error}); run "
            "pip install workertoolbox-results[prometheus]"
        ) from error
    # Monitors without metrics need no queries.
    from cadasta.workertoolbox.results._store.fleet.fleet_figures import FleetReader

    engine = open_engine(database_url(tasks_database(app.conf)), pool_size=1)
    fleet = FleetMetrics(FleetReader.from_engine(engine).read)
    metrics = Metrics(fleet)
    metrics.serve(host, port)
    fleet.start()
    return metrics.add
