"""Tasks of workflows as values, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cadasta.workertoolbox.results import Task

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float | None) -> datetime | None:
    """Return an instant, in seconds after the workflow began."""
    return None if seconds is None else START + timedelta(seconds=seconds)


def task(
    id: str,
    parent: str | None = None,
    *,
    group: str | None = None,
    published: float | None = 0,
    started: float | None = 1,
    ended: float | None = 3.5,
    **values: Any,
) -> Task:
    """Return a task that was published, started and ended at these seconds."""
    status = "SUCCESS" if ended is not None else "STARTED"
    return Task(
        **{
            "id": id,
            "name": f"export.{id}",
            "status": status,
            "queue": "export",
            "args": [],
            "kwargs": {},
            "root_id": "root",
            "parent_id": parent,
            "group_id": group,
            "retries": 0,
            "scheduled_at": at(published),
            "eta": None,
            "started_at": at(started),
            "finished_at": at(ended),
            "worker": None if started is None else "w",
            "result": None,
            "traceback": None,
            "tracked": True,
            **values,
        }
    )


def queued(id: str, parent: str | None = None, **values: Any) -> Task:
    """Return a task that no worker has started."""
    known: dict[str, Any] = {"started": None, "ended": None, "status": "QUEUED"}
    return task(id, parent, **{**known, **values})


def planned(id: str, parent: str | None = None, **values: Any) -> Task:
    """Return a step that is not published yet."""
    return queued(id, parent, published=None, status="PLANNED", **values)


def not_run(id: str, parent: str | None = None, **values: Any) -> Task:
    """Return a step that was not run, because a task before it has failed."""
    reason = f"not run: export.{parent}[{parent}] failed"
    known: dict[str, Any] = {"published": None, "started": None, "status": "FAILURE"}
    return task(id, parent, result=reason, **{**known, **values})
