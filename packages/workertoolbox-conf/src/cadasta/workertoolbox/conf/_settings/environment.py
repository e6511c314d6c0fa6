"""Read settings from environment variables, and from files that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery.app.defaults import Option

from cadasta.workertoolbox.conf._errors import InvalidValue, InvalidVariable
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.names import OLD_NAMES
from cadasta.workertoolbox.conf._settings.parsing import PARSERS, Parser
from cadasta.workertoolbox.conf._settings.spelling import find_similar
from cadasta.workertoolbox.conf._settings.variables import (
    ENV_PREFIX,
    FOLDER,
    VARIABLES,
    Variable,
)
from cadasta.workertoolbox.routing import mask_url

#: Prefix of variables that test suites use; they are not settings.
_TEST_PREFIX = "TEST_"

#: Suffix of a variable that names a file with the value, as containers mount secrets.
_FILE_SUFFIX = "_FILE"

#: Settings by their names in the environment, without the prefix.
_SETTINGS: dict[str, Option | Variable] = {
    **{name.upper(): option for name, option in SETTINGS.items()},
    **VARIABLES,
}

#: Names of settings, as `Config` takes them, by their names in the environment.
_NAMES = {name.upper(): name for name in (*SETTINGS, *VARIABLES)}


def read_environment(prefix: str) -> dict[str, Any]:
    """Return the settings that the environment gives, by the names that `Config` takes.

    Args:
        prefix: The prefix of the variables, without the `_`.

    Raises:
        InvalidValue: The prefix is not valid.
        InvalidVariable: A variable with the prefix is not a setting, its value or the
            file that it names cannot be read, or the value is given twice.
    """
    _check_prefix(prefix)
    given = dict(_variables(prefix))
    values = {}
    for key, text in given.items():
        setting = key if key in _NAMES else key.removesuffix(_FILE_SUFFIX)
        if setting not in _NAMES:
            raise InvalidVariable(_unknown(prefix, key))
        if setting == key:
            values[_NAMES[setting]] = _parse(f"{prefix}_{key}", text, _parser(setting))
        elif setting in given:
            raise InvalidVariable(
                f"{prefix}_{setting} and {prefix}_{key} are both in the environment; "
                "unset one of them"
            )
        else:
            values[_NAMES[setting]] = _parse_file(
                f"{prefix}_{key}", text, _parser(setting)
            )
    return values


def find_folder(prefix: str) -> str:
    """Return the folder that the environment names, or the default folder."""
    return os.environ.get(f"{prefix}_{FOLDER.name.upper()}") or str(FOLDER.default)


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z]\w*(?<!_)", prefix):
        raise InvalidValue(
            f"ENV_PREFIX={prefix!r} cannot start the name of a variable; write letters "
            "and digits, without the '_' that follows, as in "
            f"{str(ENV_PREFIX.default)!r}"
        )


def _variables(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the name, without the prefix, and the text of each possible setting."""
    for variable, text in os.environ.items():
        key = variable.removeprefix(f"{prefix}_")
        if key not in (variable, FOLDER.name.upper()) and not key.startswith(
            _TEST_PREFIX
        ):
            yield key, text


def _unknown(prefix: str, key: str) -> str:
    """Return the message about a variable that is not a setting."""
    files = (f"{name}{_FILE_SUFFIX}" for name in _NAMES)
    similar = OLD_NAMES.get(key, "").upper() or find_similar(key, [*_NAMES, *files])
    hint = f"did you mean {prefix}_{similar}? If not, unset" if similar else "unset"
    return (
        f"{prefix}_{key} in the environment is not a setting; {hint} it, or choose "
        "another prefix with ENV_PREFIX=…"
    )


def _parser(setting: str) -> Parser:
    type_ = _SETTINGS[setting].type
    # One of Celery's types is a class, and the others are names.
    return PARSERS[str(getattr(type_, "__name__", type_))]


def _parse(variable: str, text: str, parser: Parser) -> Any:
    try:
        return parser.parse(text)
    except ValueError as error:
        shown = "********" if parser.is_secret else mask_url(text)
        # Without the cause, which shows the whole value.
        raise InvalidVariable(
            f"{variable}={shown!r} in the environment {_problem(parser, error)}"
        ) from None


def _parse_file(variable: str, path: str, parser: Parser) -> Any:
    try:
        # Without the line end that editors add.
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        # Without the cause, which shows the content of the file.
        raise InvalidVariable(
            f"{variable}={path!r} in the environment names a file that cannot be read "
            f"({reason}); name one that this process can read"
        ) from None
    try:
        return parser.parse(text)
    except ValueError as error:
        raise InvalidVariable(
            f"the content of {path!r}, which {variable} names, "
            f"{_problem(parser, error)}"
        ) from None


def _problem(parser: Parser, error: ValueError) -> str:
    """Return what is wrong with a text, and at which character if JSON says so."""
    problem, separator, advice = parser.problem.partition(";")
    place = f" (character {error.pos})" if hasattr(error, "pos") else ""
    return f"{problem}{place}{separator}{advice}"
