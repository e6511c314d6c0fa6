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

from cadasta.workertoolbox.results._commands.options import Age
from cadasta.workertoolbox.results._commands.output import app_of
from cadasta.workertoolbox.results._database.statuses import SCHEDULED, STATUSES
from cadasta.workertoolbox.results._history.erase import erase_task, erase_workflow
from cadasta.workertoolbox.results._history.purge import count_expired, purge_expired
from cadasta.workertoolbox.results._history.retention import TASKS
from cadasta.workertoolbox.results._store.store import TaskStore

#: Seconds between two lines that say how far it is.
REPORT_S = 5.0


class Status(click.ParamType[str]):
    """A status that a task can be old in: Celery's, ours, or a task's own."""

    name = "status"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Read a status from the command line."""
        status = str(value)
        if status.upper() == SCHEDULED:
            self.fail(
                f"{status!r} tasks are never old: their ETA is ahead; write QUEUED"
            )
        if status.upper() in STATUSES and status not in STATUSES:
            self.fail(f"{status!r} is no status; write {status.upper()}")
        return status


@click.command()
@click.option(
    "--older-than",
    type=Age(),
    help="What is older: a number and s, m, h, d or w, as 30d.",
)
@click.option("--status", type=Status(), help="Of them, only tasks of this status.")
@click.option("--name", help="Of them, only tasks of this name.")
@click.option("--task-id", help="One task, however old.")
@click.option("--root-id", help="The whole workflow that this task began.")
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@click.pass_context
def purge(
    ctx: click.Context,
    older_than: timedelta | None,
    status: str | None,
    name: str | None,
    task_id: str | None,
    root_id: str | None,
    dry_run: bool,
) -> None:
    """Delete old tasks, or all of one workflow, with their attempts and results.

    It goes in small transactions, so monitors and workers go on meanwhile. With
    neither --status nor --name, old groups, chords and messages in quarantine go too.
    Ctrl-C ends it after the transaction that is under way; run it again for the rest.
    """
    given = [each for each in (older_than, task_id, root_id) if each is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --older-than, --task-id and --root-id")
    if given == [""]:
        raise click.UsageError(
            "'' is no id; --task-id and --root-id take that of a task"
        )
    if older_than is None and (status or name or dry_run):
        raise click.UsageError("--status, --name and --dry-run go with --older-than")
    with TaskStore.for_app(app_of(ctx)) as store:
        if older_than is not None:
            before = datetime.now(UTC) - older_than
            if dry_run:
                total = count_expired(
                    store.engine, before=before, status=status, name=name
                )
                click.echo(f"{_shown(total)} would be deleted")
                return
            steps = purge_expired(store.engine, before=before, status=status, name=name)
        elif task_id is not None:
            steps = erase_task(store.engine, task_id)
        else:
            steps = erase_workflow(store.engine, str(root_id))
        total, finished = _follow(steps)
    click.echo(f"{_shown(total)} deleted")
    if not finished:
        raise click.ClickException("interrupted; run it again for the rest")


def _follow(steps: Iterable[Counter[str]]) -> tuple[Counter[str], bool]:
    """Add up what is deleted; return that, and whether nobody interrupted it."""
    total: Counter[str] = Counter()
    reported_at = time.monotonic()
    with _remembering_interrupt() as interrupted:
        for deleted in steps:
            total += deleted
            if interrupted.is_set():
                return total, False
            if time.monotonic() - reported_at >= REPORT_S:
                reported_at = time.monotonic()
                click.echo(f"{_shown(total)} deleted so far", err=True)
    return total, True


@contextmanager
def _remembering_interrupt() -> Iterator[Event]:
    """Have the first Ctrl-C set an event; a second one is a `KeyboardInterrupt`."""
    interrupted = Event()

    def remember(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.set()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _shown(total: Counter[str]) -> str:
    """Return a count in words: tasks, and what else there is."""
    others = (f", {number} {name}" for name, number in total.items() if name != TASKS)
    return f"{total[TASKS]} tasks{''.join(others)}"
