"""The command `celery -A proj tasks check`, which results adds to its group.

`celery … tasks --help` imports this module. The module of the command is only imported
when the command is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

#: The module with the command.
MODULE = "cadasta.workertoolbox.conf.checkup._command"


class _LazyCommand(click.Command):
    """A command whose options and code are imported when it is called."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        context: click.Context = import_module(MODULE).command.make_context(
            *args, **kwargs
        )
        return context


#: Its help is here as well, so that `tasks --help` need not import it.
check = _LazyCommand(
    "check", help="Connect to broker and database, and report the result of each check."
)
