"""`celery -A proj tasks web`."""

from __future__ import annotations

import click

from cadasta.workertoolbox.results._commands.output import current_app
from cadasta.workertoolbox.results.web.command import serve_options, serve_store


@click.command("web", epilog="Example: celery -A proj tasks web --bind 127.0.0.1:8555")
@serve_options
@click.pass_context
def command(ctx: click.Context, /, **options: str) -> None:
    """Serve web pages about all tasks, until interrupted."""
    serve_store(str(current_app(ctx).conf.result_backend), **options)
