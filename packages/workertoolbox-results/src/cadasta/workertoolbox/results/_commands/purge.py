"""`celery -A proj tasks purge`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from sqlalchemy import Engine

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.interrupts import deferred_interrupt
from cadasta.workertoolbox.results._commands.options import Age
from cadasta.workertoolbox.results._commands.output import check_filters
from cadasta.workertoolbox.results._database.statuses import SCHEDULED, STATUSES
from cadasta.workertoolbox.results._errors import TaskNotFound
from cadasta.workertoolbox.results._history.erase import erase_task, erase_workflow
from cadasta.workertoolbox.results._history.expiry_rule import TASKS
from cadasta.workertoolbox.results._history.purge import (
    DAY_TASKS,
    DAYS,
    DAYS_IN_USE,
    Expired,
    count,
    find_beyond_retention,
    find_older,
    purge,
)
from cadasta.workertoolbox.results._history.retention import DEFAULT, Retention
from cadasta.workertoolbox.results._safe_text import terminal_text
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
    too. Without options, the command deletes the ended tasks that are older than the
    setting RETENTION allows. Ctrl-C ends it after the current transaction; run it again
    to delete the rest.
    """
    _check_usage(older_than, task_id, root_id, dry_run, narrowed=bool(status or name))
    app = current_app(ctx)
    retention = Retention.for_app(app)
    if older_than is None and task_id is None and root_id is None:
        _check_retention(retention)
    with TaskStore.for_app(app) as store:
        check_filters(app, store, status=status, name=name)
        engine = store.engine
        if task_id is not None:
            steps = erase_task(engine, task_id)
        elif root_id is not None:
            steps = erase_workflow(engine, root_id)
        else:
            expired = (
                find_beyond_retention(engine, retention)
                if older_than is None
                else find_older(
                    engine, datetime.now(UTC) - older_than, status=status, name=name
                )
            )
            if dry_run:
                _show(engine, expired)
                return
            steps = purge(engine, expired)
        total, finished = _add_up(steps)
    if finished and not total.total() and (id := task_id or root_id):
        raise TaskNotFound(id)
    _report(total, finished)


def _check_usage(
    older_than: timedelta | None,
    task_id: str | None,
    root_id: str | None,
    dry_run: bool,
    *,
    narrowed: bool,
) -> None:
    given = [each for each in (older_than, task_id, root_id) if each is not None]
    if len(given) > 1:
        raise click.UsageError("give one of --older-than, --task-id and --root-id")
    if given == [""]:
        raise click.UsageError(
            "'' is not an id; write the id of a task after --task-id or --root-id"
        )
    if older_than is None and narrowed:
        raise click.UsageError("--status and --name can only be used with --older-than")
    if dry_run and (task_id or root_id):
        raise click.UsageError("--dry-run cannot be used with --task-id or --root-id")


def _check_retention(retention: Retention) -> None:
    if not retention.ages:
        raise click.UsageError(
            "give one of --older-than, --task-id and --root-id, or set RETENTION"
        )


def _show(engine: Engine, expired: Expired) -> None:
    """Print the days and the number of rows that would be deleted."""
    for (keep, day), tasks in expired.days.items():
        of_class = "" if keep == DEFAULT else f" of {terminal_text(keep)}"
        click.echo(f"{day}: about {tasks} tasks{of_class}")
    click.echo(f"{_described(count(engine, expired))} would be deleted")


def _report(total: Counter[str], finished: bool) -> None:
    """Print the numbers of deleted rows, and fail if some are left."""
    in_use = total.pop(DAYS_IN_USE, 0)
    click.echo(f"{_described(total)} deleted")
    if not finished:
        raise click.ClickException("interrupted; run it again to delete the rest")
    if in_use:
        raise click.ClickException(
            f"{in_use} whole days are kept, because another transaction reads or "
            "writes the history; run it again later"
        )


def _add_up(steps: Iterable[Counter[str]]) -> tuple[Counter[str], bool]:
    """Return what was deleted, and whether all steps ran without a Ctrl-C."""
    total: Counter[str] = Counter()
    reported_at = time.monotonic()
    with deferred_interrupt() as interrupted:
        for deleted in steps:
            total += deleted
            if interrupted.is_set():
                return total, False
            if time.monotonic() - reported_at >= REPORT_S:
                reported_at = time.monotonic()
                click.echo(f"{_described(total)} deleted so far", err=True)
    return total, True


def _described(total: Counter[str]) -> str:
    """Return counts in words: the number of tasks first, then the rest."""
    words = [f"{total[TASKS]} task{'s' * (total[TASKS] != 1)}"]
    if days := total[DAYS]:
        words.append(f"{days} whole days with about {total[DAY_TASKS]} tasks")
    words += (
        f"{number} {name}"
        for name, number in total.items()
        if name not in (TASKS, DAYS, DAY_TASKS)
    )
    return ", ".join(words)
