"""`celery -A proj tasks purge`."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import click
from sqlalchemy import Engine

from cadasta.workertoolbox.results._commands.options import Age
from cadasta.workertoolbox.results._commands.output import (
    check_filters,
    current_app,
)
from cadasta.workertoolbox.results._database.statuses import SCHEDULED, STATUSES
from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._history.erase import erase_task, erase_workflow
from cadasta.workertoolbox.results._history.purge import count_expired, purge_expired
from cadasta.workertoolbox.results._history.retention import TASKS
from cadasta.workertoolbox.results._store.store import TaskStore

#: Seconds between two progress lines.
REPORT_S = 5.0


class Status(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4.
    """A status that an old task can have: one of `STATUSES`, or a custom state."""

    name = "status"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Read a status from the command line."""
        status = str(value)
        if status.upper() == SCHEDULED:
            self.fail(
                f"tasks with the status {status!r} are never old, because their ETA is "
                "ahead; write QUEUED"
            )
        if status.upper() in STATUSES and status not in STATUSES:
            self.fail(f"{status!r} is not a status; write {status.upper()}")
        return status


@click.command("purge")
@click.option(
    "--older-than",
    type=Age(),
    help="Delete everything older than this: a number and s, m, h, d or w, as in 30d.",
)
@click.option("--status", type=Status(), help="Only tasks of this status.")
@click.option("--name", help="Only tasks of this name.")
@click.option("--task-id", help="Delete one task, whatever its age.")
@click.option("--root-id", help="Delete the whole workflow that this task began.")
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@click.pass_context
def command(
    ctx: click.Context,
    older_than: timedelta | None,
    status: str | None,
    name: str | None,
    task_id: str | None,
    root_id: str | None,
    dry_run: bool,
) -> None:
    """Delete old tasks, or one workflow, with their attempts and results.

    The command deletes in small transactions, while monitors and workers keep running.
    Without --status and --name, old groups, chords and quarantined messages are deleted
    too. Ctrl-C ends it after the current transaction; run it again to delete the rest.
    """
    _check_usage(older_than, task_id, root_id, narrowed=bool(status or name or dry_run))
    filters: dict[str, Any] = {"status": status, "name": name}
    if older_than is not None:
        filters["before"] = datetime.now(UTC) - older_than
    app = current_app(ctx)
    with TaskStore.for_app(app) as store:
        check_filters(app, store, status=status, name=name)
        if dry_run:
            click.echo(
                f"{_described(count_expired(store.engine, **filters))} would be deleted"
            )
            return
        steps = _deletions(store.engine, filters, task_id=task_id, root_id=root_id)
        total, finished = _add_up(steps)
    if finished and not total.total() and older_than is None:
        raise TaskNotFound(task_id or root_id or "")
    click.echo(f"{_described(total)} deleted")
    if not finished:
        raise click.ClickException("interrupted; run it again to delete the rest")


def _check_usage(
    older_than: timedelta | None,
    task_id: str | None,
    root_id: str | None,
    *,
    narrowed: bool,
) -> None:
    given = [each for each in (older_than, task_id, root_id) if each is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --older-than, --task-id and --root-id")
    if given == [""]:
        raise click.UsageError(
            "'' is not an id; write the id of a task after --task-id or --root-id"
        )
    if older_than is None and narrowed:
        raise click.UsageError(
            "--status, --name and --dry-run can only be used with --older-than"
        )


def _deletions(
    engine: Engine,
    filters: dict[str, Any],
    *,
    task_id: str | None,
    root_id: str | None,
) -> Iterator[Counter[str]]:
    """Delete, and yield what each transaction deleted."""
    if task_id is not None:
        return erase_task(engine, task_id)
    if root_id is not None:
        return erase_workflow(engine, root_id)
    return purge_expired(engine, **filters)


def _add_up(steps: Iterable[Counter[str]]) -> tuple[Counter[str], bool]:
    """Return what was deleted, and whether all steps ran without a Ctrl-C."""
    total: Counter[str] = Counter()
    reported_at = time.monotonic()
    with _deferred_interrupt() as interrupted:
        for deleted in steps:
            total += deleted
            if interrupted.is_set():
                return total, False
            if time.monotonic() - reported_at >= REPORT_S:
                reported_at = time.monotonic()
                click.echo(f"{_described(total)} deleted so far", err=True)
    return total, True


@contextmanager
def _deferred_interrupt() -> Iterator[Event]:
    """Set an event on the first Ctrl-C; a second one raises `KeyboardInterrupt`."""
    interrupted = Event()

    def remember(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.set()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _described(total: Counter[str]) -> str:
    """Return counts in words: the number of tasks first, then the rest."""
    others = (f", {number} {name}" for name, number in total.items() if name != TASKS)
    return f"{total[TASKS]} tasks{''.join(others)}"
