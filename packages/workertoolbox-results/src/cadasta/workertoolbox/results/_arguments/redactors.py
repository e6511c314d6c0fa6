"""Calls of the functions in `REDACT` and `REDACT_RESULTS`, which users write.

Where such a function fails, all that it takes is masked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from traceback import extract_tb
from typing import Any

from cadasta.workertoolbox.results._arguments.rules import TaskRules
from cadasta.workertoolbox.results._arguments.secret_texts import MASK
from cadasta.workertoolbox.results._safe_text import log_text

_logger = logging.getLogger(__name__)

#: A function that takes `args` and `kwargs` and returns those that may be stored.
Redactor = Callable[[list[Any], dict[str, Any]], tuple[list[Any], dict[str, Any]]]

#: A function that takes a result or a text of an error, and returns what may be stored.
ResultRedactor = Callable[[Any], Any]


def redact_text(rules: TaskRules, name: str, text: Any) -> Any:
    """Call the functions of `REDACT_RESULTS` for a text; return other values as is."""
    for redactor in rules.redactors:
        text = redact_value(redactor, name, text) if isinstance(text, str) else text
    return text


def redact_value(redactor: ResultRedactor, name: str, value: Any) -> Any:
    """Call a function of `REDACT_RESULTS`; mask the value if it fails."""
    try:
        return redactor(value)
    except Exception as error:
        _log_failure("REDACT_RESULTS", name, error)
        return MASK


def redact_arguments(
    redactor: Redactor, name: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Call a function of `REDACT`; mask all arguments if it fails."""
    try:
        args, kwargs = redactor(args, kwargs)
        return list(args), dict(kwargs)
    except Exception as error:
        _log_failure("REDACT", name, error)
        return [MASK], {}


def _log_failure(setting: str, name: str, error: Exception) -> None:
    # Without the text of the error, which may contain a secret.
    place = extract_tb(error.__traceback__)[-1]
    _logger.error(
        "%s function of task %s failed with %s in %s, line %s; all that it takes is "
        "masked",
        setting,
        log_text(name),
        type(error).__name__,
        place.filename,
        place.lineno,
    )
