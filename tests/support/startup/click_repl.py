"""What Celery's command line imports of click_repl, without the prompt.

Each process that is started as `celery` imports click_repl, although only `celery amqp
repl` uses it. With its prompt, that takes a third of the time that a command needs to
start. The tests start hundreds.
"""

from __future__ import annotations

import click


def register_repl(group: click.Group, name: str = "repl") -> None:
    """Add nothing to a group."""
