"""Options, and types of options, that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar

import click

from cadasta.workertoolbox.results._ages import parse_age
from cadasta.workertoolbox.results._durations import parse_duration
from cadasta.workertoolbox.results._instants import parse_instant

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line."
)

internal_option = click.option(
    "--internal", is_flag=True, help="Show Celery's own tasks too."
)


def exit_code_option(when: str) -> Callable[[Decorated], Decorated]:
    """Return the option `--exit-code`, for scripts and monitoring systems.

    Args:
        when: When the exit code is 1.
    """
    return click.option(
        "--exit-code", is_flag=True, help=f"Exit with 1 if {when}, and with 0 if not."
    )


def limit_option(
    plural: str, *, order: str = "newest first"
) -> Callable[[Decorated], Decorated]:
    """Return the option `--limit`.

    Args:
        plural: What the command shows, such as "tasks".
        order: How the command sorts them.
    """
    return click.option(
        "--limit",
        type=click.IntRange(1, 1_000_000),
        default=50,
        show_default=True,
        help=f"Maximum number of {plural} to show, {order}.",
    )


#: Where a context keeps the time zone of `--utc`.
_ZONE = f"{__name__}.zone"


def current_zone() -> tzinfo | None:
    """Return the time zone of the command's times: UTC, or None for the local one."""
    ctx = click.get_current_context(silent=True)
    return ctx.meta.get(_ZONE) if ctx else None


def window_options(what: str) -> Callable[[Decorated], Decorated]:
    """Return the options `--since`, `--until` and `--utc`.

    Args:
        what: Which instants are in the window, such as "published".
    """
    options = (
        click.option(
            "--since",
            type=Instant(),
            help=f"Only what was {what} since then: 2h, 30d, today, yesterday, 14:30, "
            "2026-11-27, or ISO 8601.",
        ),
        click.option("--until", type=Instant(), help=f"Only what was {what} before."),
        utc_option,
    )

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _set_zone(ctx: click.Context, _: click.Parameter, is_utc: bool) -> None:
    if is_utc:
        ctx.meta[_ZONE] = UTC


#: Eager, because the types of other options need the time zone.
utc_option = click.option(
    "--utc",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_zone,
    help="Read and show times in UTC instead of local time.",
)


class Instant(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4.
    """An instant such as `2h`, `yesterday`, `14:30` or `2026-11-27`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read an instant from the command line."""
        zone = ctx.meta.get(_ZONE) if ctx else None
        try:
            return parse_instant(str(value), now=datetime.now(UTC), zone=zone)
        except ValueError as error:
            self.fail(str(error))


class Duration(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4.
    """A duration such as `200ms`, `1.5s` or `15m`; a plain number is in seconds.

    Args:
        max_s: The longest duration, in seconds.
    """

    name = "duration"

    def __init__(self, *, max_s: float) -> None:
        self.max_s = max_s

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a duration from the command line."""
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error))
        if not 0 <= seconds <= self.max_s or not math.isfinite(seconds):
            self.fail(f"{value!r} is out of range; write 0s to {self.max_s:g}s")
        return seconds


class Age(click.ParamType):  # type: ignore[type-arg]  # Generic since click 8.4.
    """An age such as `30d`. A unit is required, as ages decide what is deleted."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read an age from the command line."""
        try:
            return parse_age(str(value).strip())
        except ValueError as error:
            self.fail(str(error))
