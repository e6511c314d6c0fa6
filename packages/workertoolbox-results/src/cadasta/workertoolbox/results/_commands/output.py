"""What the commands have in common."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click
from celery import Celery
from rich.console import Console

#: Characters on a line that no terminal shows.
PIPE_WIDTH = 1000

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line."
)


def limit_option(
    what: str, *, order: str = "newest first"
) -> Callable[[Decorated], Decorated]:
    """Return the option that bounds how many of something are shown."""
    return click.option(
        "--limit",
        type=click.IntRange(1, 1_000_000),
        default=50,
        show_default=True,
        help=f"Most {what} to show, {order}.",
    )


def app_of(ctx: click.Context) -> Celery:
    """Return the app that `-A` names."""
    app: Celery = ctx.obj.app
    return app


def console() -> Console:
    """Return what to print on."""
    # What goes into a file or a pipe is not cut to the width of some terminal.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False)


def print_json(found: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object per line."""
    for each in found:
        click.echo(json.dumps(each, ensure_ascii=False))
