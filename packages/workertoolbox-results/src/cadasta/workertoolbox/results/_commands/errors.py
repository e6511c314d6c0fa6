"""`celery -A proj tasks errors …`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.completion import complete
from cadasta.workertoolbox.results._commands.list import print_tasks
from cadasta.workertoolbox.results._commands.number_table import (
    Cell,
    Column,
    age_cell,
    bars,
    count_cell,
    print_line,
    print_numbers,
)
from cadasta.workertoolbox.results._commands.options import (
    Instant,
    exit_code_option,
    json_option,
    limit_option,
    utc_option,
)
from cadasta.workertoolbox.results._commands.output import (
    check_filters,
    format_instant,
    make_console,
    print_json,
)
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results._store.errors.changes import DONE
from cadasta.workertoolbox.results._store.errors.groups import STATES, ErrorGroup
from cadasta.workertoolbox.results._store.errors.names import (
    COUNTED_DAYS,
    CountedErrorGroup,
    errors_in,
)
from cadasta.workertoolbox.results._store.operations.journal import Operation
from cadasta.workertoolbox.results._store.store import TaskStore

#: The states of errors that need attention.
NEWS = ("new", "back")

#: Number of tasks that `errors show` lists.
SHOWN_TASKS = 5

#: Number of changes that `errors show` lists.
SHOWN_CHANGES = 5

#: Maximum number of characters of an error in a list.
MAX_SAMPLE = 200

_STYLES = {"new": "bold red", "back": "bold red", "ongoing": "yellow"}


class DefaultGroup(click.Group):
    """A group that runs `list` if no command is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in ctx.help_option_names and first not in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(
    "errors",
    cls=DefaultGroup,
    epilog="Example: celery -A proj tasks errors --new --exit-code",
)
def command() -> None:
    """Show groups of errors, and resolve or ignore them.

    Without a command, `list` is run.
    """


@command.command("list", epilog="Example: celery -A proj tasks errors list --since 24h")
@click.option("--state", type=click.Choice(STATES), help="Only groups in this state.")
@click.option("--new", is_flag=True, help="Only groups that are new or back.")
@click.option(
    "--name",
    help="Only groups with errors of tasks of this name.",
    shell_complete=complete("name"),
)
@click.option(
    "--since", type=Instant(), help="Only groups with an error since then: 2h, today."
)
@exit_code_option("a group is found")
@limit_option("groups", order="latest error first")
@utc_option
@json_option
@click.pass_context
def list_groups(
    ctx: click.Context,
    /,
    state: str | None,
    new: bool,
    name: str | None,
    since: datetime | None,
    exit_code: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show groups of errors, the one with the latest error first.

    The bars are the errors of the last 24 hours.
    """
    if new and state is not None:
        raise click.UsageError("give either --new or --state")
    app = current_app(ctx)
    states = NEWS if new else (state,)
    with TaskStore.for_app(app) as store:
        each_state = (
            store.error_groups(state=each, since=since, name=name, limit=limit)
            for each in states
        )
        found = sorted(chain(*each_state), key=lambda group: group.last_at)[::-1]
        if not found:
            check_filters(app, store, name=name)
            nothing = _no_errors(store, name=name)
    found = found[:limit]
    if as_json:
        print_json(each.as_json() for each in found)
    elif found:
        _print(found, datetime.now(UTC))
    else:
        click.echo(nothing)
    ctx.exit(1 if exit_code and found else 0)


@command.command("show", epilog="Example: celery -A proj tasks errors show 1:9f86d081")
@click.argument("id")
@utc_option
@json_option
@click.pass_context
def show_group(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show the group with the key ID, its errors by name, and its latest tasks."""
    with TaskStore.for_app(current_app(ctx)) as store:
        group = store.error_group(id)
        since = datetime.now(UTC) - timedelta(days=COUNTED_DAYS)
        stats = store.stats(since=since, by="name", error_group=id, internal=True)
        tasks = store.list(
            error_group=id, limit=SHOWN_TASKS, internal=True, brief=not as_json
        )
        changes = store.error_group_changes(id, limit=SHOWN_CHANGES)
    if as_json:
        print_json([CountedErrorGroup.of(group, stats).as_json()])
        return
    now = datetime.now(UTC)
    _print([group], now, samples=False)
    console = make_console()
    console.print()
    for line in (group.sample or group.type or "").splitlines():
        print_line(console, [Cell(terminal_text(line))])
    console.print()
    for title, text in _details(group, changes):
        print_line(console, [Cell(f"{title:<12}", "dim"), Cell(terminal_text(text))])
    console.print()
    columns = (Column("name", is_text=True), Column(f"errors in {COUNTED_DAYS} d"))
    print_numbers(
        columns,
        [(Cell(row.value or ""), count_cell(errors_in(row))) for row in stats.rows],
    )
    console.print()
    print_tasks(tasks, as_json=False, nothing="its tasks are not known any more")


def _no_errors(store: TaskStore, *, name: str | None) -> str:
    """Return the line without errors, which tells of failures that are to come."""
    if store.has_unlisted_failures(name=name):
        return (
            "no errors yet: tasks have failed, and their errors are listed about a "
            "minute after their end, when a monitor moves them to the history"
        )
    return "no errors"


def _print(
    groups: Sequence[ErrorGroup], now: datetime, *, samples: bool = True
) -> None:
    columns = (
        *(Column("state", is_text=True), Column("errors"), Column("retried", rank=2)),
        *(Column("last 24 h", is_text=True), Column("last"), Column("first")),
        *(Column("task", is_text=True, rank=1), Column("key", is_text=True)),
    )
    print_numbers(
        columns,
        [
            (
                Cell(each.state, _STYLES.get(each.state, "dim")),
                count_cell(each.count),
                count_cell(each.retries),
                Cell(bars(each.recent)),
                age_cell(each.last_at, now),
                age_cell(each.first_at, now),
                Cell(each.name or ""),
                Cell(each.id),
            )
            for each in groups
        ],
        below=[Cell(_text(each)) for each in groups] if samples else (),
    )


def _text(group: ErrorGroup) -> str:
    """Return the beginning of the error, and where it was raised."""
    sample = group.sample or group.type or "erased"
    first, *others = sample.strip().splitlines() or [sample]
    cut = others or len(first) > MAX_SAMPLE
    text = f"{first[:MAX_SAMPLE]}{'…' if cut else ''}"
    return f"{text}  in {group.place}" if group.place else text


def _details(
    group: ErrorGroup, changes: Sequence[Operation]
) -> Iterator[tuple[str, str]]:
    yield "first", _occurrence(group.first_at, group.first_task_id)
    yield "last", _occurrence(group.last_at, group.last_task_id)
    yield "raised in", group.place or "a library, or the task was killed"
    if group.resolved_at is not None and not changes:  # Its operation was purged.
        yield "resolved", format_instant(group.resolved_at)
    yield from map(_change_line, changes)


def _change_line(change: Operation) -> tuple[str, str]:
    why = f": {change.reason}" if change.reason else ""
    text = f"{format_instant(change.started_at)}  by {change.made_by}{why}"
    return DONE[change.kind], text


def _occurrence(at: datetime, task_id: str | None) -> str:
    return f"{format_instant(at)}  {task_id or 'task erased'}"


def _change_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the keys of groups, and what is written into the journal of operations."""
    for add in (
        click.option("--reason", help="Why, for `tasks operations`."),
        click.option("--by", help="Who does it; by default the user and the host."),
        click.argument("ids", nargs=-1, required=True),
    ):
        function = add(function)
    return function


@command.command("resolve")
@_change_options
@click.pass_context
def resolve(ctx: click.Context, /, **options: Any) -> None:
    """Mark the groups with the keys IDS as resolved, until their next error."""
    _change(ctx, TaskStore.resolve_error_group, "resolved", **options)


@command.command("ignore")
@_change_options
@click.pass_context
def ignore(ctx: click.Context, /, **options: Any) -> None:
    """Mark the groups with the keys IDS as ignored, despite later errors."""
    _change(ctx, TaskStore.ignore_error_group, "ignored", **options)


@command.command("reopen")
@_change_options
@click.pass_context
def reopen(ctx: click.Context, /, **options: Any) -> None:
    """Undo `resolve` or `ignore` for the groups with the keys IDS."""
    _change(ctx, TaskStore.reopen_error_group, "open again", **options)


def _change(
    ctx: click.Context,
    change: Callable[..., None],
    done: str,
    *,
    ids: Sequence[str],
    by: str | None,
    reason: str | None,
) -> None:
    with TaskStore.for_app(current_app(ctx)) as store:
        for id in ids:
            change(store, id, made_by=by, reason=reason)
            click.echo(f"{id} {done}")
