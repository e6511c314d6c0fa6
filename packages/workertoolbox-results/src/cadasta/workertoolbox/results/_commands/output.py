"""Output of commands, on a terminal and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import click
from celery import Celery
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from cadasta.workertoolbox.results._commands.options import current_zone
from cadasta.workertoolbox.results._safe_text import json_text, terminal_text
from cadasta.workertoolbox.results._store.store import TaskStore

#: Width in characters of output to a file or a pipe: wide enough to cut nothing.
PIPE_WIDTH = 100_000


def check_filters(app: Celery, store: TaskStore, **filters: str | None) -> None:
    """Refuse values of filters that neither a task nor the app's configuration has.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses the query.
        UnknownStatus: No task has the status.
        UnknownValue: No task has the name, the queue or the worker.
    """
    store.check_filters(**filters, known={*app.tasks, *app.amqp.queues})


def format_instant(instant: datetime | None) -> str:
    """Return a time in the command's time zone, or an empty string without one."""
    if instant is None:
        return ""
    return f"{instant.astimezone(current_zone()):%Y-%m-%d %H:%M:%S}"


def make_console() -> Console:
    """Return a console as wide as the terminal; lines to a pipe are not cut.

    It prints texts as they are: `[bold]` and `:smile:` mean nothing.
    """
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def print_json(objects: Iterable[Mapping[str, object]]) -> None:
    """Print one JSON object per line."""
    for each in objects:
        click.echo(json_text(each))


def print_table(
    columns: Sequence[str],
    rows: Collection[Sequence[str]],
    *,
    below: Collection[str],
    nothing: str = "",
) -> None:
    """Print a table without cutting its cells.

    Args:
        below: Names of columns that are printed on a line of their own below the
            others if the table is wider than the terminal.
        nothing: What is printed instead of a table without rows.
    """
    if not rows:
        click.echo(nothing)
        return
    cells = [columns, *([terminal_text(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    console = make_console()
    fits = sum(widths) + 2 * (len(widths) - 1) <= console.width
    moved = frozenset[str]() if fits else frozenset(below)
    for number, row in enumerate(cells):
        style = None if number else "bold"
        above = [
            set_cell_size(cell, width)
            for name, cell, width in zip(columns, row, widths, strict=True)
            if name not in moved
        ]
        console.out("  ".join(above).rstrip(), style=style, highlight=False)
        rest = [c for n, c in zip(columns, row, strict=True) if n in moved and c]
        if rest:
            console.out(f"  {'  '.join(rest)}", style=style, highlight=False)
