"""A server of the web pages, and the addresses of pages that show a generated week."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from celery import Celery

from cadasta.workertoolbox.results import (
    TaskStore,
    database_url,
    open_engine,
    upgrade,
)
from cadasta.workertoolbox.results._history.horizon import report_progress
from export_demo.week import generate, write
from servers.ports import HOST, free_ports, is_listening
from support.brokers import result_backend_url
from support.processes import running

#: How much of a week's usual tasks is enough to fill each page.
SHARE = 0.15


@contextmanager
def serving(database: str, folder: Path, *options: str) -> Iterator[str]:
    """Serve the pages about a database; yield their address without a final slash.

    Args:
        folder: The folder for the output.
        options: Those of `tasks web`.
    """
    [port] = free_ports(1)
    address = f"{HOST}:{port}"
    module = [sys.executable, "-m", "cadasta.workertoolbox.results.web"]
    with running(
        [*module, result_backend_url(database), "--bind", address, *options],
        folder=folder,
        name="web",
        ready=lambda: is_listening(port),
        timeout_s=60,
    ):
        yield f"http://{address}"


def write_week(database: str, *, share: float = SHARE) -> None:
    """Store a generated week in an empty database with the current schema."""
    app = Celery("shop", set_as_current=False, broker="memory://")
    app.conf.update(result_backend=result_backend_url(database), result_extended=True)
    upgrade(app.conf.result_backend)
    write(app, generate(now=datetime.now(UTC), share=share))
    engine = open_engine(database_url(app.conf.result_backend))
    with engine.begin() as connection:
        now = datetime.now(UTC)
        report_progress(connection, "a-monitor@host", read_until=now, now=now)
    engine.dispose()
    app.backend.database.close()  # type: ignore[attr-defined]
    app.close()


def find_pages(store: TaskStore) -> Mapping[str, str]:
    """Return the paths of pages by title: one of each kind, with something to show."""

    def first(query: str) -> str:
        return quote(store.search(query, limit=1).tasks[0].id, safe="")

    failed_part = store.search("name:export.pack status:failure", limit=1).tasks[0]
    [group, *_] = store.error_groups(name="emails.send")
    rerun = next(each for each in store.operations() if each.tasks)
    planned = store.search("name:export.bundle status:planned", limit=1).tasks[0]
    return {
        "overview": "/?since=24h",
        "overview of a week": "/?since=7d",
        "tasks": "/tasks",
        "failed tasks": "/tasks?query=status:failure&since=7d",
        "an invalid query": "/tasks?query=status:nonsense",
        "no tasks": "/tasks?query=name:nothing",
        "a task": f"/tasks/{first('name:images.resize status:success')}",
        "a failed task": f"/tasks/{first('name:invoices.create status:failure')}",
        "a retried task": f"/tasks/{first('name:emails.send retries:>0')}",
        "a queued task": f"/tasks/{first('name:imports.catalog')}",
        "a running task": f"/tasks/{first('name:images.resize status:started')}",
        "an untracked task": f"/tasks/{first('name:legacy.sync')}",
        "an unknown task": "/tasks/unknown",
        "a failed workflow": f"/workflows/{failed_part.root_id}",
        "a running workflow": f"/workflows/{planned.root_id}",
        "errors": "/errors",
        "an error group": f"/errors/{quote(group.id, safe='')}",
        "queues": "/queues",
        "workers": "/workers",
        "schedules": "/schedules",
        "services": "/services",
        "quarantine": "/quarantine",
        "reruns": "/operations",
        "a rerun": f"/operations/{rerun.id}",
        "health": "/health",
    }
