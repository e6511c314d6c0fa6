"""`celery -A proj tasks stats`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.completion import complete
from cadasta.workertoolbox.results._commands.number_table import (
    BLANK,
    Cell,
    Column,
    change_cell,
    count_cell,
    duration_cell,
    print_line,
    print_numbers,
    rate_unit,
    share_cell,
)
from cadasta.workertoolbox.results._commands.options import (
    internal_option,
    json_option,
    window_options,
)
from cadasta.workertoolbox.results._commands.output import (
    check_filters,
    format_instant,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._errors import InvalidGrouping
from cadasta.workertoolbox.results._number_text import MIN_DURATION_CHANGE
from cadasta.workertoolbox.results._store.figures.stats import (
    Stats,
    StatsRow,
    StatsTable,
)
from cadasta.workertoolbox.results._store.figures.stats_lines import stats_lines
from cadasta.workertoolbox.results._store.store import TaskStore

#: The window without `--since`.
WINDOW = timedelta(hours=1)

#: Number of tasks from which a 95th percentile is compared.
MIN_TASKS = 200

#: How far behind the archiver may be without a warning.
MAX_LAG = timedelta(minutes=5)


class _By(click.Choice):  # type: ignore[type-arg]  # Generic since click 8.2.
    """The choices of `--by`; the error for `worker` names the commands that show it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the value if figures are kept by it."""
        if value == "worker":
            self.fail(str(InvalidGrouping(value)), param, ctx)
        return super().convert(value, param, ctx)


@click.command(
    "stats",
    epilog="Example: celery -A proj tasks stats --by queue --since 24h",
)
@click.option(
    "--by",
    type=_By(["name", "queue"]),
    default="name",
    show_default=True,
    help="Whether a row is for a name or a queue.",
)
@click.option(
    "--name", help="Only tasks of this name.", shell_complete=complete("name")
)
@click.option(
    "--queue", help="Only tasks of this queue.", shell_complete=complete("queue")
)
@click.option("--status", help="Only tasks that ended with this status.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Maximum number of rows, most tasks first; the others are added up.",
)
@window_options("ended")
@internal_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, since: datetime | None, as_json: bool, **given: Any
) -> None:
    """Show counts, waits and run times of tasks by name or queue.

    The window is the last hour by default. Figures are compared with the window of the
    same length before it. Extra runs were lost, or were duplicates. Tasks are counted
    when they are archived, a minute or two after their end.
    """
    app = current_app(ctx)
    filters = {name: given[name] for name in ("name", "queue", "status")}
    with TaskStore.for_app(app) as store:
        table = store.stats(since=since or datetime.now(UTC) - WINDOW, **given)
        nothing = ""
        if not table.total.now.count:
            check_filters(app, store, **filters)
            nothing = _nothing(store, given["until"])
    if as_json:
        print_json(line.as_json() for line in stats_lines(table, given["by"]))
        return
    _print(table, given["by"], nothing)
    if given["until"] is None and datetime.now(UTC) - table.until > MAX_LAG:
        text = "Later tasks are not archived yet; a running monitor archives them."
        print_line(make_console(), [Cell(text, "yellow")])


def _rows(table: StatsTable, by: str) -> Iterator[tuple[str, StatsRow]]:
    """Yield the rows with their titles, the rest and the total last."""
    for row in table.rows:
        yield row.value or f"({by} not known)", row
    if table.rest is not None:
        yield f"{table.rest_size} others", table.rest
    if len(table.rows) > 1:
        yield "all", table.total


def _nothing(store: TaskStore, until: datetime | None) -> str:
    """Return the line without figures, which tells of tasks that are to be counted."""
    if until is None and store.has_uncounted_ends():
        return (
            "no tasks counted yet: tasks have ended, and they are counted about a "
            "minute after their end, when a monitor moves them to the history"
        )
    return "no tasks ended"


def _print(table: StatsTable, by: str, nothing: str) -> None:
    console = make_console()
    now = table.total.now
    print_line(console, [Cell(_heading(table), "dim")])
    if not now.count and not now.failed_attempts:
        print_line(console, [Cell(nothing)])
        return
    parts = [f"{number:,} {status}" for status, number in now.statuses.items()]
    print_line(console, [Cell("   ".join(parts))])
    console.print()
    rows = [*_rows(table, by)]
    unit, rate = rate_unit(row.now.per_second for _, row in rows)
    extra_runs = "extra runs" if now.redeliveries else ""
    columns = (
        Column(by, is_text=True),
        *(Column("tasks"), Column(""), Column(f"per {unit}", rank=1)),
        *(Column("failed"), Column(""), Column("retries", rank=3)),
        *(Column(extra_runs, rank=3), Column("wait p50", rank=4)),
        *(Column("wait p95"), Column("wait p99", rank=6), Column("run p50", rank=2)),
        *(Column("run p95"), Column("", rank=2), Column("run p99", rank=5)),
        Column("total p95", rank=5),
    )
    cells = [
        [
            Cell(title, "bold" if row is table.total else ""),
            *_numbers(row, rate(row.now.per_second), has_extra_runs=bool(extra_runs)),
        ]
        for title, row in rows
    ]
    print_numbers(columns, cells)


def _heading(table: StatsTable) -> str:
    length_s = (table.until - table.since).total_seconds()
    window = f"{format_instant(table.since)} to {format_instant(table.until)}"
    text = f"Tasks that ended from {window} ({duration_text(length_s)})"
    if table.total.before is not None:
        text += "; ▲▼ compares them with the window before"
    return text


def _numbers(row: StatsRow, rate: Cell, *, has_extra_runs: bool) -> Sequence[Cell]:
    now, before = row.now, row.before
    changes = [BLANK] * 3 if before is None else _changes(now, before)
    return (
        *(count_cell(now.count), changes[0], rate),
        *(share_cell(now.failure_rate), changes[1], count_cell(now.retries)),
        count_cell(now.redeliveries) if has_extra_runs else BLANK,
        duration_cell(now.waited.p50_s),
        duration_cell(now.waited.p95_s),
        duration_cell(now.waited.p99_s),
        *(duration_cell(now.ran.p50_s), duration_cell(now.ran.p95_s), changes[2]),
        *(duration_cell(now.ran.p99_s), duration_cell(now.took.p95_s)),
    )


def _changes(now: Stats, before: Stats) -> Sequence[Cell]:
    """Return the changes that are too large to be chance."""
    tasks = failures = ran = BLANK
    if _differ(now.count, before.count):
        tasks = change_cell(now.per_second, before.per_second)
    if _differ(now.failed, before.failed):
        failures = change_cell(
            now.failure_rate, before.failure_rate, more_is_worse=True
        )
    if min(now.count, before.count) >= MIN_TASKS:
        ran = change_cell(
            now.ran.p95_s,
            before.ran.p95_s,
            more_is_worse=True,
            least=MIN_DURATION_CHANGE,
        )
    return tasks, failures, ran


def _differ(now: int, before: int) -> bool:
    """Return whether two counts differ by more than two standard deviations."""
    return abs(now - before) > 2 * math.sqrt(now + before)
