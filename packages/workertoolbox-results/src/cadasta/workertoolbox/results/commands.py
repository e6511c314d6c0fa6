"""The group `celery -A proj tasks …` in Celery's own command line.

Celery's command line always imports this module. The modules of the commands are only
imported when a command is called or when `--help` describes it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results._safe_text import terminal_text

#: The entry-point group by which other distributions add commands.
GROUP = "workertoolbox.commands"

#: The package with the commands of this distribution, each a module with a `command`.
PACKAGE = "cadasta.workertoolbox.results._commands"
COMMANDS = ("list", "monitor", "purge", "quarantine", "show", "stuck", "upgrade")


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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ResultsError as error:
            raise click.ClickException(terminal_text(str(error))) from error


@click.group(cls=TasksGroup)
def tasks() -> None:
    """Show every task that was scheduled, and what happened to it."""


def _added_commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
