"""The commands that this package adds to `celery -A proj tasks`.

`celery … tasks --help` imports this module. The module of a command is only imported
when the command is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


class _LazyCommand(click.Command):
    """A command whose options and code are imported when it is called.

    Its help is here as well, so that `tasks --help` need not import it.
    """

    def __init__(self, name: str, module: str, help: str) -> None:
        super().__init__(name, help=help)
        self._module = module

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        context: click.Context = import_module(self._module).command.make_context(
            *args, **kwargs
        )
        return context


check = _LazyCommand(
    "check",
    "cadasta.workertoolbox.conf.checkup._command",
    "Connect to broker and database, and report the result of each check.",
)

adopt = _LazyCommand(
    "adopt",
    "cadasta.workertoolbox.conf.adoption._command",
    "Print how an app that has its configuration already adopts the toolbox.",
)

init = _LazyCommand(
    "init",
    "cadasta.workertoolbox.conf._starter.command",
    "Write the first files of a service, in the working directory.",
)
