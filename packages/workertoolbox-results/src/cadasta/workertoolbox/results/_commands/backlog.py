"""`celery -A proj tasks backlog`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.completion import complete
from cadasta.workertoolbox.results._commands.number_table import (
    BLANK,
    Cell,
    Column,
    age_cell,
    count_cell,
    duration_cell,
    print_line,
    print_numbers,
    rate_unit,
)
from cadasta.workertoolbox.results._commands.options import (
    Age,
    exit_code_option,
    json_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import (
    check_filters,
    format_instant,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._database.url import are_results_separate
from cadasta.workertoolbox.results._store.figures.queues import (
    MAX_SAMPLE_AGE,
    QueueBacklog,
)
from cadasta.workertoolbox.results._store.store import TaskStore


@click.command(
    "backlog",
    epilog="Example: celery -A proj tasks backlog --max-age 15m --exit-code",
)
@click.option("--queue", help="Only this queue.", shell_complete=complete("queue"))
@click.option(
    "--max-age",
    type=Age(),
    help="Mark queues in which a task has waited for longer, such as 15m.",
)
@exit_code_option(
    "a task has waited for longer than --max-age, or if that is not known"
)
@utc_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    queue: str | None,
    max_age: timedelta | None,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Show how many tasks wait in each queue, and for how long.

    Queues that had tasks within the last hour are shown. Workers are those that run a
    task of the queue, or have run one within the last hour. They are known by their
    results, so they are unknown if an app stores its results elsewhere.
    """
    if exit_code and max_age is None:
        raise click.UsageError("--exit-code needs --max-age")
    app = current_app(ctx)
    with TaskStore.for_app(app) as store:
        found = [each for each in store.backlog() if queue in (None, each.queue)]
        if not found:
            check_filters(app, store, queue=queue)
    late = {each.queue for each in found if _is_late(each, max_age)}
    is_known = not any(_is_outdated(each) for each in found)
    if as_json:
        print_json(each.as_json() for each in found)
    elif found:
        _print(found, late, unknown_workers=are_results_separate(app.conf))
    else:
        click.echo("no queue has had tasks within the last hour")
    ctx.exit(1 if exit_code and (late or not is_known) else 0)


def _is_outdated(each: QueueBacklog) -> bool:
    """Return whether the tasks were counted long ago, or not at all."""
    age = datetime.now(UTC) - each.counted_at
    return each.queued is None or age > MAX_SAMPLE_AGE


def _is_late(each: QueueBacklog, max_age: timedelta | None) -> bool:
    return max_age is not None and each.oldest_s > max_age.total_seconds()


def _print(
    found: Sequence[QueueBacklog], late: set[str], *, unknown_workers: bool
) -> None:
    now = datetime.now(UTC)
    unit, rate = rate_unit(each.per_second for each in found)
    columns = (
        *(Column("queue", is_text=True), Column("waiting"), Column("oldest")),
        *(Column("ETA ahead"), Column("retrying", rank=3), Column("running")),
        *(Column("workers"), Column("last end", rank=2), Column(f"per {unit}", rank=1)),
        Column("drained in"),
    )
    print_numbers(
        columns,
        [
            (
                Cell(each.queue, "bold red" if each.queue in late else ""),
                _waiting(each),
                _oldest(each, "red" if each.queue in late else ""),
                count_cell(each.scheduled),
                count_cell(each.retrying),
                count_cell(each.running),
                _consumers(each, unknown=unknown_workers or each.unknown > 0),
                age_cell(each.ended_at, now),
                rate(each.per_second),
                _drained(each),
            )
            for each in found
        ],
    )
    counted_at = min(each.counted_at for each in found)
    text, style = "", "dim"
    if counted_at < now - timedelta(seconds=30):
        text = f"Counted in the archiver's sample of {format_instant(counted_at)}."
    if any(map(_is_outdated, found)):
        text += " A running monitor counts the tasks once a minute."
        style = "yellow"
    if text:
        print_line(make_console(), [Cell(f"\n{text.strip()}", style)])


def _waiting(each: QueueBacklog) -> Cell:
    if each.unknown and not each.queued:
        return Cell("unknown", "dim")
    return count_cell(each.queued)


def _consumers(each: QueueBacklog, *, unknown: bool) -> Cell:
    if unknown and not each.consumers:
        return Cell("unknown", "dim")
    if each.queued and not each.consumers:
        return Cell("none", "red")
    return count_cell(len(each.consumers))


def _oldest(each: QueueBacklog, style: str) -> Cell:
    # A queue without tasks has no oldest one.
    return duration_cell(each.oldest_s, style=style) if each.queued else BLANK


def _drained(each: QueueBacklog) -> Cell:
    if not each.queued:
        return BLANK
    return Cell("?", "dim") if each.drain_s is None else duration_cell(each.drain_s)
