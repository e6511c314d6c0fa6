"""Output of commands, on a terminal and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

import click
from celery import Celery
from rich.console import Console

#: Width in characters of output to a file or a pipe: wide enough to cut nothing.
PIPE_WIDTH = 1000


def current_app(ctx: click.Context) -> Celery:
    """Return the app that `-A` names."""
    app: Celery = ctx.obj.app
    return app


def make_console() -> Console:
    """Return a console as wide as the terminal; lines to a pipe are not cut."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False)


def print_json(objects: Iterable[Mapping[str, object]]) -> None:
    """Print one JSON object per line."""
    for each in objects:
        click.echo(json.dumps(each, ensure_ascii=False))
