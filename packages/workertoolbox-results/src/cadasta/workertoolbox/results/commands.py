"""The group `celery -A proj tasks …` in Celery's own command line.

Celery's command line always imports this module. The module of a command is only
imported when the command is called.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from cadasta.workertoolbox.results._backend import quiet_workers
from cadasta.workertoolbox.results._errors import (
    InvalidWindow,
    ResultsError,
    UnknownStatus,
)
from cadasta.workertoolbox.results._query_errors import (
    InvalidPage,
    InvalidQuery,
    InvalidTime,
)
from cadasta.workertoolbox.results._safe_text import terminal_text

#: The entry-point group by which other distributions add commands.
GROUP = "workertoolbox.commands"

#: The package with the commands of this distribution, each a module with a `command`.
PACKAGE = "cadasta.workertoolbox.results._commands"
#: Their help is here as well, so that `--help` does not import them.
COMMANDS = {
    "archive": "Move ended tasks to the history, as monitors do.",
    "backlog": "Show how many tasks wait in each queue, and for how long.",
    "errors": "Show groups of errors, and resolve or ignore them.",
    "export": "Write tasks to a file, as NDJSON, CSV or Parquet.",
    "leave": "Delete the monitor queue and its bindings, when the toolbox is dropped.",
    "list": "Show the newest tasks.",
    "monitor": "Write the copy of every task message to the database, until stopped.",
    "operations": (
        "Show which tasks were rerun and which errors changed, by whom and why."
    ),
    "purge": "Delete old tasks, or one workflow, with their attempts and results.",
    "quarantine": "Show, replay or delete the messages that no monitor could read.",
    "rerun": "Publish tasks again, each with a new id.",
    "schedules": "Show the entries of beat's schedule: last, missed and next runs.",
    "services": "Show which services send and which workers run each task.",
    "show": "Show the workflow of the task or group ID as a tree.",
    "stats": "Show counts, waits and run times of tasks by name or queue.",
    "stuck": "Show tasks that have been queued or running for too long.",
    "tail": "Show new tasks, and tasks that end, until interrupted.",
    "upgrade": "Create the tables, or migrate them to the current schema.",
    "web": "Serve web pages about all tasks, until interrupted.",
    "why": "Say why the task ID has not run or has not finished, or how it ended.",
    "workers": "Show when each worker was last seen, and which tasks it runs.",
}


quiet_workers.connect_signals()


#: Errors of the person who typed the command. Other errors, and tasks that do not
#: exist, end a command with exit code 1.
_WRONG_USE = (InvalidPage, InvalidQuery, InvalidTime, InvalidWindow, UnknownStatus)


class WrongUse(click.ClickException):
    """An error in what a person typed."""

    exit_code = 2


class TasksGroup(click.Group):
    """A group that imports commands when they are used, and prints one-line errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *_added_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command | None = None
        if cmd_name in COMMANDS:
            command = import_module(f"{PACKAGE}.{cmd_name}").command
        elif added := _added_commands().get(cmd_name):
            command = added.load()
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the names of the commands, each with the first sentence of its help."""
        names = self.list_commands(ctx)
        # As in click: what is left of a line beside the longest name and the margins.
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short_help(name, limit)) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except _WRONG_USE as error:
            raise WrongUse(_error_text(error)) from error
        except ResultsError as error:
            raise click.ClickException(_error_text(error)) from error


@click.group(cls=TasksGroup)
def tasks() -> None:
    """Show every task that was scheduled, and what happened to it."""


def _error_text(error: ResultsError) -> str:
    """Return an error in one line; an invalid query follows it, with a caret."""
    lines = [str(error)]
    if isinstance(error, InvalidQuery):
        lines += (f"  {line}" for line in error.marked.split("\n"))
    return "\n".join(map(terminal_text, lines))


def _short_help(name: str, limit: int) -> str:
    text = COMMANDS.get(name)
    command = click.Command(name, help=text) if text else _added_commands()[name].load()
    return str(command.get_short_help_str(limit))


def _added_commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
