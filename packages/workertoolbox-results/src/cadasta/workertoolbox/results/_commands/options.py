"""Lengths of time on the command line."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

#: Longest age in days: a hundred years, long before any task.
MAX_DAYS = 36_500

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Age(click.ParamType[timedelta]):
    """A length of time like `30d`: a number and one of s, m, h, d, w."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read an age from the command line."""
        read = re.fullmatch(r"([0-9]{1,9})([smhdw])", str(value))
        if read is None:
            self.fail(
                f"{value!r} is no age; write a number and a unit, as in 30d or 12h"
            )
        age = timedelta(**{_UNITS[read[2]]: int(read[1])})
        if not timedelta(0) < age <= timedelta(days=MAX_DAYS):
            self.fail(f"{value!r} is out of range; write 1s to {MAX_DAYS}d")
        return age
