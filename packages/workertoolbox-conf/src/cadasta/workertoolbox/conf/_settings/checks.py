"""Checks of the values of variables.

Each returns what is wrong with a value, in words that follow the name and the value in
an error, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from cadasta.workertoolbox.conf._logging.formatters import FORMATTERS
from cadasta.workertoolbox.results import (
    DURATION_FORM,
    Redaction,
    Retention,
    parse_duration,
)

#: Returns what is wrong with a value and what to write instead, or None. It may also
#: raise an error of another package.
Check = Callable[[Any], str | None]


def _is_integer(value: object, *, minimum: float = -inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def find_url_part_problem(value: object) -> str | None:
    if isinstance(value, str) or _is_integer(value):
        return None
    return "is neither a string nor an integer; leave it out for the default"


def find_port_problem(value: object) -> str | None:
    if find_url_part_problem(value) is None and str(value).isdecimal():
        return None
    return "is not a port; write its number, as in 5432"


def find_retries_problem(value: object) -> str | None:
    if value is None or _is_integer(value, minimum=0):
        return None
    return "is not a number of retries; write 0 or more, or leave it out for no limit"


def find_bytes_problem(value: object) -> str | None:
    if value is None or _is_integer(value, minimum=1):
        return None
    return "is not a number of bytes; write 1 or more, or leave it out for the default"


def find_duration_problem(value: object) -> str | None:
    if value is None:
        return None
    try:
        parse_duration(str(value))
    except ValueError:
        return f"is not a duration; write {DURATION_FORM}"
    return None if isinstance(value, str) else "is not a string; write it in quotes"


def find_log_format_problem(value: object) -> str | None:
    if value in (None, *FORMATTERS):
        return None
    known = " or ".join(map(repr, FORMATTERS))
    return f"is unknown; write {known}, or leave it out for Celery's own format"


def find_flag_problem(value: object) -> str | None:
    return None if isinstance(value, bool) else "is neither True nor False"


def find_sentry_problem(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    return (
        "is neither True nor False; put the DSN into the environment variable "
        "SENTRY_DSN"
    )


def find_error_group_problem(value: object) -> str | None:
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return None
    return (
        "is neither a function nor the path of one; write the path with its module, as "
        "in 'export.errors.group', or leave it out"
    )


def find_redaction_problem(value: Any) -> None:
    Redaction(value)


def find_retention_problem(value: Any) -> None:
    Retention(value)


def find_result_redaction_problem(value: Any) -> None:
    Redaction(result_rules=value)
