"""`celery -A proj tasks check`: a command that is added to those of results."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import click
from celery import Celery
from rich.console import Console

from cadasta.workertoolbox.conf._errors import NotConfigured
from cadasta.workertoolbox.conf._setup import check_configured
from cadasta.workertoolbox.conf.checkup import CheckContext, Finding, Status, check_up
from cadasta.workertoolbox.conf.checkup._checks import TIMEOUT_S
from cadasta.workertoolbox.results import ROLE_PRIVILEGES

#: How each status looks on a terminal.
_STYLES = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.FAILED: "bold red",
    Status.SKIPPED: "dim",
}

#: Characters for the longest status, and for most names of checks.
_STATUS, _CHECK = 7, 28


@click.command()
@click.option(
    "--role",
    "roles",
    type=click.Choice(sorted(ROLE_PRIVILEGES)),
    multiple=True,
    default=["worker"],
    show_default=True,
    help="What the database's role is used for; can be given several times.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Processes of workers on all hosts together; by default those connected now.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds for each check.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.pass_context
def check(
    ctx: click.Context,
    roles: tuple[str, ...],
    processes: int | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Connect to broker and database, and say line by line what is wrong.

    No task is touched. The exit code is 1 if something failed; warnings do not count.
    """
    app: Celery = ctx.obj.app
    try:
        check_configured(app)
    except NotConfigured as error:
        raise click.ClickException(str(error)) from error
    context = CheckContext(app, roles, processes)
    counts: Counter[Status] = Counter()
    counted = _counting(check_up(context, timeout_s=timeout), counts)
    if as_json:
        for finding in counted:
            click.echo(json.dumps(finding.as_json(), ensure_ascii=False))
    else:
        _print(counted)
        click.echo(", ".join(f"{counts[each]} {each}" for each in Status))
    ctx.exit(1 if counts[Status.FAILED] else 0)


def _counting(found: Iterable[Finding], counts: Counter[Status]) -> Iterator[Finding]:
    for finding in found:
        counts[finding.status] += 1
        yield finding


def _print(found: Iterable[Finding]) -> None:
    # What goes into a file or a pipe is not cut to the width of some terminal.
    width = None if sys.stdout.isatty() else 1000
    console = Console(width=width, highlight=False, markup=False)
    for finding in found:
        console.print(
            f"{finding.status:{_STATUS}} ", style=_STYLES[finding.status], end=""
        )
        console.print(f"{finding.check:{_CHECK}} {finding.detail}")
        if finding.advice:
            console.print(f"{'':{_STATUS + _CHECK + 1}} → {finding.advice}")
