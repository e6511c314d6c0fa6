"""`celery -A proj tasks export`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.export_formats import FORMATS, make_writer
from cadasta.workertoolbox.results._commands.queries import Selection, selection_options
from cadasta.workertoolbox.results._store.store import TaskStore

#: Seconds between two lines of progress on a terminal.
_PROGRESS_S = 0.5


@click.command(
    "export",
    epilog="Example: celery -A proj tasks export --since 30d --format csv "
    "--output tasks.csv",
)
@selection_options
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="ndjson",
    show_default=True,
    help="Parquet needs pyarrow and --output.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file, which is replaced when all tasks are written; by default, the "
    "tasks go to standard output.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    format_name: str,
    output: Path | None,
    **options: Any,
) -> None:
    """Write tasks to a file, as NDJSON, CSV or Parquet.

    Tasks that are published after the start are left out.
    """
    if format_name == "parquet" and output is None:
        raise click.UsageError("parquet is written to a file; add --output FILE")
    if options["until"] is None:
        options["until"] = datetime.now(UTC)
    selection = Selection(current_app(ctx), options)
    count = 0
    with (
        TaskStore.for_app(selection.app) as store,
        _opened(output) as file,
        make_writer(format_name, file) as write,
    ):
        shown_at = began = time.monotonic()
        for page in selection.pages(store):
            write(page.tasks)
            count += len(page.tasks)
            now = time.monotonic()
            if sys.stderr.isatty() and now - shown_at >= _PROGRESS_S:
                shown_at = now
                rate = count / (now - began)
                click.echo(f"\r{count:,} tasks, {rate:,.0f}/s ", err=True, nl=False)
    if sys.stderr.isatty():
        click.echo("\r" if count else "", err=True, nl=False)
    if output is not None:
        click.echo(f"{count} tasks in {output}", err=True)


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    """Yield the file to write to; it replaces the former one when the block ends.

    If the block raises an error, the former file stays.

    Raises:
        click.FileError: The file cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            partial.unlink()
