"""A web service that publishes while it is loaded: `gunicorn --preload`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from support.echo_service import make_app

app: Any = make_app()

#: A task of the master process, which has used its broker and its database.
first = app.send_task("export.echo", ["master"])
print("state of the first task:", first.state)


def application(
    environ: dict[str, Any], start_response: Callable[..., object]
) -> Iterable[bytes]:
    """Publish a task, and answer with the process, its id and the state of `first`."""
    sent = app.send_task("export.echo", ["child"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {sent.id} {first.state} {sent.state}".encode()]
