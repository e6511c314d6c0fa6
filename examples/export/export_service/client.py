"""What a service needs that asks for exports: an app for the same broker, no more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult


def schedule(
    app: Celery, folder: Path, output: Path, *, fail: bool = False
) -> AsyncResult[Any]:
    """Ask for the export of a folder, and return at once.

    Args:
        app: Any app whose task routes lead to the service.
        folder: The folder; the workers have to see it under the same path.
        output: The zip to write.
        fail: Have a task started that fails on purpose.

    Raises:
        ValueError: A path cannot be written as UTF-8, so no message can carry it.
    """
    paths = [str(path.resolve()) for path in (folder, output)]
    for path in paths:
        path.encode("utf-8")
    return app.send_task("export.project", paths, {"fail": fail})


def wait(
    app: Celery, export: AsyncResult[Any], *, timeout_s: float = 60.0
) -> dict[str, Any]:
    """Wait until an export is done and its reminder is sent; return its summary.

    Returns:
        What `msg.notify` returned: `output`, `files`, `bytes`, `left_out`, `text`.

    Raises:
        celery.exceptions.TimeoutError: It took longer than `timeout_s` seconds.
        Exception: What the task raised that failed.
    """
    deadline = time.monotonic() + timeout_s

    def result_of(id: str) -> Any:
        # Celery takes a timeout of 0 for none.
        left = max(0.001, deadline - time.monotonic())
        return app.AsyncResult(id).get(timeout=left)

    started = result_of(export.id)
    summary: dict[str, Any] = result_of(started["notify"])
    result_of(started["remind"])
    return summary
