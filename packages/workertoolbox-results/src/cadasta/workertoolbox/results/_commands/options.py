"""Options, and types of options, that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from cadasta.workertoolbox.results._ages import parse_age
from cadasta.workertoolbox.results._durations import parse_duration

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line."
)

internal_option = click.option(
    "--internal", is_flag=True, help="Show Celery's own tasks too."
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
