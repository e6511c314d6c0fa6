"""The command `celery -A proj tasks check`."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click
from celery import Celery
from rich.console import Console

from cadasta.workertoolbox.conf._app_argument import app_argument
from cadasta.workertoolbox.conf._errors import NotConfigured
from cadasta.workertoolbox.conf._logging.formatters import printable
from cadasta.workertoolbox.conf._setup import check_configured
from cadasta.workertoolbox.conf.checkup._checks import TIMEOUT_S, check_up
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, Status
from cadasta.workertoolbox.results import ROLE_PRIVILEGES, parse_duration

#: Rich styles of the statuses.
_STYLES = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.FAILED: "bold red",
    Status.SKIPPED: "dim",
}

#: Characters of the columns: those of the longest status, and of most check names.
_STATUS_WIDTH = 7
_CHECK_WIDTH = 28

#: Characters of a line if the output is not a terminal: longer than any finding.
_PIPE_WIDTH = 1000

#: Shortest and longest `--timeout`, in seconds.
_MIN_TIMEOUT_S, _MAX_TIMEOUT_S = 0.1, 600.0


def _timeout(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    """Return the value of `--timeout` in seconds."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not _MIN_TIMEOUT_S <= seconds <= _MAX_TIMEOUT_S:
        raise click.BadParameter(
            f"{text!r} is out of range; write {_MIN_TIMEOUT_S:g}s to "
            f"{_MAX_TIMEOUT_S:g}s"
        )
    return seconds


@click.command("check")
@click.option(
    "--role",
    "roles",
    type=click.Choice(sorted(ROLE_PRIVILEGES)),
    multiple=True,
    default=["worker"],
    show_default=True,
    help="What the database role is used for. Can be repeated.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Worker processes on all hosts together. Default: those connected now.",
)
@click.option(
    "--timeout",
    callback=_timeout,
    metavar="DURATION",
    default=f"{TIMEOUT_S:g}s",
    show_default=True,
    help="Time limit of each check, such as 8s or 500ms.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.pass_context
def command(
    ctx: click.Context,
    roles: tuple[str, ...],
    processes: int | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Connect to broker and database, and report the result of each check.

    Tasks are not touched. The exit code is 1 if a check failed. A warning does not fail
    the command.
    """
    app: Celery = ctx.obj.app
    try:
        check_configured(app)
    except NotConfigured as error:
        raise click.ClickException(_with_app(str(error))) from error
    findings = check_up(CheckContext(app, roles, processes), timeout_s=timeout)
    counts: Counter[Status] = Counter()
    for finding in findings:
        counts[finding.status] += 1
        if as_json:
            click.echo(json.dumps(finding.as_json()))
        else:
            _print(finding)
    if not as_json:
        click.echo(", ".join(f"{counts[status]} {status}" for status in Status))
    ctx.exit(1 if counts[Status.FAILED] else 0)


def _print(finding: Finding) -> None:
    # Lines for a file or a pipe are not wrapped.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    status, style = finding.status, _STYLES[finding.status]
    console.print(f"{status:{_STATUS_WIDTH}} ", style=style, end="")
    console.print(f"{finding.check:{_CHECK_WIDTH}} {printable(finding.detail)}")
    if finding.advice:
        indent = " " * (_STATUS_WIDTH + _CHECK_WIDTH + 1)
        console.print(f"{indent} → {printable(_with_app(finding.advice))}")


def _with_app(text: str) -> str:
    """Return a text with commands that can be copied."""
    return text.replace("celery -A …", f"celery -A {app_argument('…')}")
