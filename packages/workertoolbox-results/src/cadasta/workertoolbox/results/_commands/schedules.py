"""`celery -A proj tasks schedules`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click

from cadasta.workertoolbox.results._commands.app import current_app
from cadasta.workertoolbox.results._commands.options import json_option
from cadasta.workertoolbox.results._commands.output import print_json, print_table
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._store.schedules.entries import Schedule
from cadasta.workertoolbox.results._store.store import TaskStore

#: How far monitors may be behind without a warning.
MAX_LAG = timedelta(minutes=2)

#: The columns of the table, each with a function that returns its text for an entry.
_COLUMNS: dict[str, Callable[[Schedule], str]] = {
    "service": lambda each: each.service or "",
    "entry": lambda each: each.entry,
    "schedule": lambda each: " ".join(filter(None, (each.words, each.timezone))),
    "last": lambda each: _time(None if each.last is None else each.last.sent_at),
    "late": lambda each: _seconds(None if each.last is None else each.last.late_s),
    "status": lambda each: (each.last and each.last.status) or "",
    "run": lambda each: _seconds(None if each.last is None else each.last.run_s),
    "missed": lambda each: str(each.missed or ""),
    "doubled": lambda each: str(each.doubled or ""),
    "next": lambda each: _next(each),
}


@click.command("schedules")
@click.option(
    "--all",
    "removed",
    is_flag=True,
    help="Show also entries that beat no longer lists.",
)
@click.option(
    "--exit-code", is_flag=True, help="Exit with code 1 if an entry is overdue."
)
@click.option("--forget", metavar="ENTRY", help="Delete an entry from the database.")
@click.option("--service", help="With --forget: only the entry of this service.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    removed: bool,
    exit_code: bool,
    forget: str | None,
    service: str | None,
    as_json: bool,
) -> None:
    """Show the entries of beat's schedule: last, missed and next runs.

    Entries are known from the messages that beat has sent. "late" says how long after
    the due time the last run was sent. An entry is overdue if its next run was due, and
    neither sent nor waiting in the monitor queue.

    \b
    Example, for a monitoring system:
      celery -A proj tasks schedules --exit-code
    """
    if service is not None and forget is None:
        raise click.UsageError("--service needs --forget ENTRY")
    with TaskStore.for_app(current_app(ctx)) as store:
        if forget is not None:
            store.forget_schedule(forget, service=service)
            return
        found = store.schedules(removed=removed)
    if as_json:
        print_json(each.as_json() for each in found)
    else:
        rows = [[text(each) for text in _COLUMNS.values()] for each in found]
        print_table(
            list(_COLUMNS),
            rows,
            below=("schedule", "service"),
            nothing="beat has sent no task with the toolbox yet",
        )
    _warn_of_lag(found[0].known_until if found else None)
    if exit_code and any(each.overdue for each in found):
        ctx.exit(1)


def _warn_of_lag(known_until: datetime | None) -> None:
    if known_until is not None and datetime.now(UTC) - known_until > MAX_LAG:
        click.echo(
            f"Monitors have read only messages until {_time(known_until)}; later runs "
            "are not known. Check that a monitor runs.",
            err=True,
        )


def _next(each: Schedule) -> str:
    if each.removed:
        return "removed"
    shown = _time(each.next_at)
    return f"{shown} overdue" if each.overdue else shown


def _time(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


def _seconds(seconds: float | None) -> str:
    return duration_text(seconds)
