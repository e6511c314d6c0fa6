"""`celery -A proj tasks purge`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from cadasta.workertoolbox.results._age import Age
from cadasta.workertoolbox.results._console import app_of
from cadasta.workertoolbox.results._purge import erase
from cadasta.workertoolbox.results._purge import purge as delete_old
from cadasta.workertoolbox.results._store import TaskStore


@click.command()
@click.option("--older-than", type=Age(), help="Tasks scheduled longer ago, as 30d.")
@click.option("--status", help="Of them, only those of this status.")
@click.option("--name", help="Of them, only those of this name.")
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

    It goes in small transactions, so monitors and workers go on meanwhile.
    """
    if sum(each is not None for each in (older_than, task_id, root_id)) != 1:
        raise click.UsageError("give one of --older-than, --task-id and --root-id")
    if older_than is None and (status or name or dry_run):
        raise click.UsageError("--status, --name and --dry-run go with --older-than")
    with TaskStore.for_app(app_of(ctx)) as store:
        if older_than is None:
            count = erase(store.engine, task_id=task_id or "", root_id=root_id or "")
        else:
            before = datetime.now(UTC) - older_than
            count = delete_old(
                store.engine, before=before, status=status, name=name, dry_run=dry_run
            )
    click.echo(f"{count} tasks {'would be deleted' if dry_run else 'deleted'}")
