"""`python -m cadasta.workertoolbox.results.web DATABASE_URL`."""

from __future__ import annotations

from typing import Any

import click

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results.web.serving.command import (
    ServeOptions,
    serve_options,
    serve_store,
)


@click.command(
    epilog="Example: python -m cadasta.workertoolbox.results.web "
    "workertoolbox+postgresql+psycopg2://reader@db/workers"
)
@click.argument("database_url")
@serve_options
def main(database_url: str, **options: Any) -> None:
    """Serve web pages about the tasks in a database, until interrupted."""
    try:
        serve_store(database_url, ServeOptions(**options))
    except ResultsError as error:
        raise click.ClickException(terminal_text(str(error))) from error


if __name__ == "__main__":
    main(prog_name="python -m cadasta.workertoolbox.results.web")
