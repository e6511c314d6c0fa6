"""`celery -A proj tasks why`."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.number_table import rate_unit
from cadasta.workertoolbox.results._commands.options import (
    current_zone,
    json_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import (
    format_instant,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.why.evidence import Unit, evidence_lines
from cadasta.workertoolbox.results._store.why.reason import Reason


@click.command(
    "why",
    epilog="Example: celery -A proj tasks why 7a61f3e6-9736-45fe-acde-3736828022cb",
)
@click.argument("id")
@utc_option
@json_option
@click.pass_context
def command(ctx: click.Context, id: str, as_json: bool) -> None:
    """Say why the task ID has not run or has not finished, or how it ended.

    The exit code is 0 if it has succeeded, runs, or waits as it should, and 1 if it
    failed or is stuck, or if the task that it waits for is.
    """
    with TaskStore.for_app(current_app(ctx)) as store:
        reason = store.why(id, zone=current_zone())
    if as_json:
        print_json([reason.as_json()])
    else:
        _print(make_console(), reason)
    ctx.exit(1 if reason.is_trouble else 0)


def _print(console: Console, reason: Reason) -> None:
    console.print(terminal_text(reason.sentence))
    shown: Reason | None = reason
    while shown is not None:
        style = "yellow" if shown.is_trouble else "green"
        label = "" if shown is reason else f"  {shown.name or 'task'}[{shown.id}]"
        console.print(Text.assemble("\n", (shown.cause, style), terminal_text(label)))
        for name, text in _rows(shown):
            console.print(
                Text.assemble((f"  {name:<20}  ", "dim"), terminal_text(text))
            )
        shown = shown.because


def _rows(reason: Reason) -> Iterator[tuple[str, str]]:
    """Yield the names and the texts of the evidence."""
    for name, unit, value in evidence_lines(reason):
        match unit:
            case Unit.RATE:
                per, rate = rate_unit([value])
                yield f"per {per}", rate(value).text
            case Unit.INSTANT:
                yield name, format_instant(value)
            case Unit.DURATION:
                yield name, duration_text(value)
            case Unit.TEXT:
                yield name, value
