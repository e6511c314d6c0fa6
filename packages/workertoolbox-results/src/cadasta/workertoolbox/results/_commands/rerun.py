"""`celery -A proj tasks rerun`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from celery import Celery
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeRemainingColumn,
)

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.interrupts import deferred_interrupt
from cadasta.workertoolbox.results._commands.options import json_option
from cadasta.workertoolbox.results._commands.queries import (
    FILTERS,
    Selection,
    selection_options,
)
from cadasta.workertoolbox.results._commands.rerun_plan import show_line, show_plan
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._reruns.pace import parse_rate
from cadasta.workertoolbox.results._reruns.plan import plan_rerun
from cadasta.workertoolbox.results._reruns.publishing import (
    begin_rerun,
    resume_rerun,
)
from cadasta.workertoolbox.results._reruns.steps import plan_failed_steps
from cadasta.workertoolbox.results._safe_text import json_text, terminal_text
from cadasta.workertoolbox.results._store.operations import journal
from cadasta.workertoolbox.results._store.operations.journal import (
    PUBLISHED,
    OperationTask,
)
from cadasta.workertoolbox.results._store.store import TaskStore

#: Number of tasks up to which each one is printed.
MAX_LISTED = 50


class Rate(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4.
    """A rate such as `10/s`, `90/m` or `5/h`."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a rate from the command line, per second."""
        try:
            return parse_rate(str(value))
        except ValueError as error:
            self.fail(str(error))


@click.command(
    "rerun",
    epilog="Example: celery -A proj tasks rerun --since 2h --query "
    "'name:export.* status:failure' --limit 500 --reason 'the server was down'",
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@selection_options
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    help="Maximum number of tasks that match, newest first.",
)
@click.option(
    "--rate",
    type=Rate(),
    default="10/s",
    show_default=True,
    help="Maximum number of messages per second, minute or hour: 10/s, 90/m, 5/h.",
)
@click.option("--yes", is_flag=True, help="Do not ask for the number of tasks.")
@click.option(
    "--again", is_flag=True, help="Also tasks that another operation has rerun."
)
@click.option("--by", help="Who reruns them; by default the user and the host.")
@click.option("--reason", help="Why they are rerun.")
@click.option(
    "--failed-steps",
    "root_id",
    metavar="ROOT",
    help="The failed steps of a workflow, each with the steps after it.",
)
@click.option(
    "--resume", metavar="OPERATION", help="Continue an operation that was interrupted."
)
@click.option(
    "--doubtful",
    is_flag=True,
    help="With --resume: also tasks that may have been published, with the same id.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, /, ids: tuple[str, ...], **options: Any) -> None:
    """Publish tasks again, each with a new id.

    The tasks are named by their IDs, or selected by a query. The command shows how many
    they are, and asks for that number. The first Ctrl-C ends it after the current task;
    --resume continues it later, and publishes no task twice. Which tasks can be rerun,
    and what their messages contain: see docs/how-to/rerunning.md.
    """
    _check_usage(ids, options)
    app, as_json = current_app(ctx), options["as_json"]
    with TaskStore.for_app(app) as store:
        if options["resume"] is not None:
            id, count = _resume(store, options)
        else:
            id, count = _begin(app, store, ids, options)
        _publish(app, store, id, count, options)
        found = store.operation(id)
    parts = [f"operation {id}: {found.published} of {found.tasks} published"]
    for state, number in (
        ("refused", found.refused),
        ("in doubt", found.doubtful),
        ("left", found.waiting),
    ):
        parts += [f"{number} {state}"] * bool(number)
    show_line(", ".join(parts), as_json=as_json)
    if found.doubtful:
        show_line(
            "tasks in doubt may have been published; when the monitors have read the "
            f"messages of that time, `tasks rerun --resume {id}` counts those that "
            "were, and --doubtful publishes the others, with the same ids",
            as_json=as_json,
        )
    if found.waiting:
        raise click.ClickException(f"continue with `tasks rerun --resume {id}`")
    ctx.exit(0 if found.published == found.tasks else 1)


def _check_usage(ids: Sequence[str], options: Mapping[str, Any]) -> None:
    """Refuse options that do not fit together.

    Raises:
        click.UsageError: Not exactly one selection is given.
    """
    selects = any(options[name] for name in (*FILTERS, "query", "since", "until"))
    others = (options[name] is not None for name in ("root_id", "resume"))
    if sum((bool(ids), selects, *others)) != 1:
        raise click.UsageError(
            "name tasks by their IDs, or select them by --query and other filters, or "
            "give --failed-steps ROOT or --resume OPERATION"
        )
    if options["doubtful"] and options["resume"] is None:
        raise click.UsageError("--doubtful needs --resume OPERATION")


def _resume(store: TaskStore, options: Mapping[str, Any]) -> tuple[str, int]:
    """Ask whether to continue; return the operation and the number of its tasks."""
    found = store.operation(options["resume"])
    count = found.waiting + found.doubtful * options["doubtful"]
    why = f": {found.reason}" if found.reason else ""
    show_line(
        f"operation {found.id} by {found.made_by}{why}; {found.published} of "
        f"{found.tasks} published",
        as_json=options["as_json"],
    )
    _confirm(count, options)
    return found.id, count


def _begin(
    app: Celery, store: TaskStore, ids: Sequence[str], options: Mapping[str, Any]
) -> tuple[str, int]:
    """Ask whether to begin; return the new operation and the number of its tasks."""
    again, root_id = options["again"], options["root_id"]
    if root_id is not None:
        text = root_id
        plan = plan_failed_steps(app, store, root_id, again=again)
    else:
        for id in ids:
            store.get(id, shortened=True)
        text = " ".join(ids)
        if not ids:
            ids, text = _search(app, store, options)
        plan = plan_rerun(app, store, ids, again=again)
    show_plan(plan, alone=root_id is None, as_json=options["as_json"])
    count = len(plan.allowed)
    if not count:
        raise click.ClickException(
            "none of these tasks can be rerun"
            if plan.tasks
            else "the workflow has no failed steps"
        )
    _confirm(count, options)
    id = begin_rerun(
        *(store, plan),
        made_by=options["by"],
        reason=options["reason"],
        selection=text,
    )
    return id, count


def _search(
    app: Celery, store: TaskStore, options: Mapping[str, Any]
) -> tuple[Sequence[str], str]:
    """Return the ids of the newest tasks that match, oldest first, and the query."""
    selection, limit = Selection(app, options), options["limit"]
    found: list[str] = []
    has_more = False
    for page in selection.pages(store, brief=True):
        found += [task.id for task in page.tasks]
        has_more = len(found) > limit or page.next is not None
        if len(found) >= limit:
            break
    if has_more:
        text = f"more tasks match; these are the newest {limit}"
        show_line(text, as_json=options["as_json"])
    if not found:
        raise click.ClickException("no task matches")
    window = (
        f"{name} {options[name].isoformat()}"
        for name in ("since", "until")
        if options[name] is not None
    )
    return found[:limit][::-1], " ".join([selection.text, *window]).strip()


def _confirm(count: int, options: Mapping[str, Any]) -> None:
    """Ask for the number of tasks.

    Raises:
        click.ClickException: Another answer was given.
    """
    if not count or options["yes"]:
        return
    took = duration_text(count / options["rate"])
    question = f"This publishes {counted(count, 'task')}, in about {took}. "
    question += f"Type {count} to go on"
    try:
        answer = click.prompt(question, err=options["as_json"], type=str)
    except click.Abort:
        answer = ""
        click.echo(err=True)
    if answer.strip() != str(count):
        raise click.ClickException(
            "nothing was published; type the number of tasks, or add --yes"
        )


def _publish(
    app: Celery, store: TaskStore, id: str, count: int, options: Mapping[str, Any]
) -> None:
    """Publish the tasks of an operation, and print what became of each."""
    with deferred_interrupt() as interrupted, _progress(count) as advance:
        for outcome in resume_rerun(
            *(app, store, id),
            per_s=options["rate"],
            doubtful=options["doubtful"],
            should_stop=interrupted.is_set,
        ):
            advance()
            if options["as_json"]:
                click.echo(json_text(outcome.as_json()))
            elif outcome.state != PUBLISHED or count <= MAX_LISTED:
                click.echo(_line(outcome))


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal; yield a function that advances it."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task("", total=count)
        yield lambda: progress.advance(task)


def _line(outcome: OperationTask) -> str:
    note = f"  {outcome.note}" if outcome.note else ""
    ids = f"{outcome.task_id} → {outcome.new_id}"
    match outcome.state:
        case journal.REFUSED:
            line = f"{outcome.task_id} refused{note}"
        case journal.PUBLISHING:
            line = f"{ids} in doubt{note}"
        case _:
            line = f"{ids}{note}"
    return terminal_text(line)
