"""`celery -A proj tasks workers`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.number_table import (
    BLANK,
    Cell,
    Column,
    age_cell,
    count_cell,
    print_numbers,
    share_cell,
)
from cadasta.workertoolbox.results._commands.options import (
    Instant,
    json_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import print_json
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._store.fleet.workers import RunningTask, Worker
from cadasta.workertoolbox.results._store.store import TaskStore

#: Number of running tasks that are shown of each worker.
SHOWN_TASKS = 2


@click.command("workers", epilog="Example: celery -A proj tasks workers --since 24h")
@click.option(
    "--since",
    type=Instant(),
    help="Only workers that were seen since then, such as 30m.  [default: 1h]",
)
@utc_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, since: datetime | None, as_json: bool) -> None:
    """Show when each worker was last seen, and which tasks it runs.

    A worker is seen when it starts or ends a task. Workers are not asked, so this works
    on every broker. Ended tasks are those of the last ten minutes.
    """
    with TaskStore.for_app(current_app(ctx)) as store:
        found = store.workers(since=since)
    if as_json:
        print_json(each.as_json() for each in found)
    elif found:
        _print(found, datetime.now(UTC))
    else:
        click.echo("no worker was seen")


def _print(found: Sequence[Worker], now: datetime) -> None:
    columns = (
        *(Column("worker", is_text=True), Column("seen"), Column("ended in 10 min")),
        *(Column("failed"), Column("running"), Column("tasks", is_text=True, rank=1)),
    )
    print_numbers(
        columns,
        [
            (
                Cell(each.name),
                age_cell(each.seen_at, now),
                count_cell(each.ended),
                share_cell(each.failed / each.ended) if each.ended else BLANK,
                count_cell(len(each.running)),
                _tasks(each.running, now),
            )
            for each in found
        ],
    )


def _tasks(running: Sequence[RunningTask], now: datetime) -> Cell:
    """Return the tasks that have run longest, each with its time."""
    texts = []
    for task in running[:SHOWN_TASKS]:
        since = task.started_at
        for_s = None if since is None else max((now - since).total_seconds(), 0.0)
        texts.append(f"{task.name or task.id} {duration_text(for_s)}".rstrip())
    others = len(running) - len(texts)
    return Cell(", ".join(texts) + (f" and {others:,} more" if others else ""))
