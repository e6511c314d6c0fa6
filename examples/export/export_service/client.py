"""Request exports from another service, with any app on the same broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult


def schedule(
    app: Celery, folder: Path, output: Path, *, fail: bool = False
) -> AsyncResult[Any]:
    """Publish the export of a folder, and return at once.

    Args:
        app: Any app whose task routes lead to the service.
        folder: The folder, which the workers must see under the same path.
        output: The path of the zip file.
        fail: Also start a task that fails on purpose.

    Raises:
        ValueError: A path is not valid UTF-8, so a message cannot hold it.
    """
    paths = [str(path.resolve()) for path in (folder, output)]
    for path in paths:
        path.encode("utf-8")
    return app.send_task("export.project", paths, {"fail": fail})


def wait(
    app: Celery, export: AsyncResult[Any], *, timeout_s: float = 60.0
) -> dict[str, Any]:
    """Wait for an export and its reminder, and return the summary.

    Returns:
        What `msg.notify` returned: `output`, `files`, `bytes`, `left_out`, `text`.

    Raises:
        celery.exceptions.TimeoutError: It takes longer than `timeout_s` seconds.
        Exception: The exception of a task that failed.
    """
    deadline = time.monotonic() + timeout_s

    def result_of(id: str) -> Any:
        # Celery reads a timeout of 0 as no timeout.
        left = max(0.001, deadline - time.monotonic())
        return app.AsyncResult(id).get(timeout=left)

    started = result_of(export.id)
    summary: dict[str, Any] = result_of(started["notify"])
    result_of(started["remind"])
    return summary
