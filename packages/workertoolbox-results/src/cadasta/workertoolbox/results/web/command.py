"""The options of `tasks web` and `python -m cadasta.workertoolbox.results.web`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cadasta.workertoolbox.results._database.engine import database_url, open_engine
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.app import create_app
from cadasta.workertoolbox.results.web.server import (
    InvalidAddress,
    parse_address,
    serve,
)

#: Seconds that the queries of one page may take together.
TIMEOUT_S = 10.0

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def serve_options(function: Decorated) -> Decorated:
    """Add the options of a command that serves the pages."""
    options = (
        click.option(
            "--bind",
            default="127.0.0.1:8555",
            show_default=True,
            help="The address to listen on.",
        ),
        click.option(
            "--prefix",
            default="",
            help="The path below which a proxy forwards requests, such as /tasks.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def serve_store(result_backend: str, *, bind: str, prefix: str) -> None:
    """Serve the pages about a database until the process is interrupted.

    Raises:
        InvalidAddress: The address is malformed, or other machines could reach it.
        InvalidURL: `result_backend` does not name a supported database.
    """
    address = parse_address(bind)
    if not address.is_loopback:
        raise InvalidAddress(
            f"{bind} can be reached from other machines; bind to 127.0.0.1"
        )
    store = TaskStore.from_engine(open_engine(database_url(result_backend)))
    store.timeout_s = TIMEOUT_S
    with store:
        click.echo(f"http://{bind}/{prefix.strip('/')}")
        serve(create_app(store, prefix=prefix), address)
