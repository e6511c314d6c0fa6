"""Read settings from environment variables, and from files that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cadasta.workertoolbox.routing._environment.parsing import PARSERS, Parser
from cadasta.workertoolbox.routing._environment.spelling import find_similar
from cadasta.workertoolbox.routing._errors import InvalidSetting, InvalidVariable
from cadasta.workertoolbox.routing._masking import mask_url

#: Prefix of the environment variables of the toolbox.
ENV_PREFIX = "WORKERTOOLBOX"

#: Variables that are not settings: the argument of `Config.embedded`, and the password
#: of `tasks web`.
_NOT_SETTINGS = frozenset({"FOLDER", "WEB_PASSWORD", "WEB_PASSWORD_FILE"})

#: Prefix of variables that test suites use; they are not settings.
_TEST_PREFIX = "TEST_"

#: Suffix of a variable that names a file with the value, as containers mount secrets.
_FILE_SUFFIX = "_FILE"


def read_variables(
    prefix: str,
    types: Mapping[str, str],
    *,
    ignored: Collection[str] = (),
    old_names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the settings that the environment gives, by name.

    Args:
        prefix: The prefix of the variables, without the `_`.
        types: The types of the settings by name: keys of `PARSERS`.
        ignored: Settings in uppercase that are allowed and not read.
        old_names: New names of settings by their old names in uppercase, for the error
            messages.

    Raises:
        InvalidSetting: The prefix is not valid.
        InvalidVariable: A variable with the prefix is not a setting, its value or the
            file that it names cannot be read, or the value is given twice.
    """
    _check_prefix(prefix)
    names = {name.upper(): name for name in types}
    given = dict(_variables(prefix))
    values = {}
    for key, text in given.items():
        setting = key if key in names else key.removesuffix(_FILE_SUFFIX)
        if {key, setting} & {*ignored}:
            continue
        if setting not in names:
            known = (*names, *ignored)
            raise InvalidVariable(_unknown(prefix, key, known, old_names or {}))
        parser = PARSERS[types[names[setting]]]
        if setting == key:
            values[names[setting]] = _parse(f"{prefix}_{key}", text, parser)
        elif setting in given:
            raise InvalidVariable(
                f"{prefix}_{setting} and {prefix}_{key} are both in the environment; "
                "unset one of them"
            )
        else:
            values[names[setting]] = _parse_file(f"{prefix}_{key}", text, parser)
    return values


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z]\w*(?<!_)", prefix):
        raise InvalidSetting(
            f"ENV_PREFIX={prefix!r} cannot start the name of a variable; write letters "
            f"and digits, without the '_' that follows, as in {ENV_PREFIX!r}"
        )


def _variables(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the name, without the prefix, and the text of each possible setting."""
    for variable, text in os.environ.items():
        key = variable.removeprefix(f"{prefix}_")
        is_setting = key not in _NOT_SETTINGS and not key.startswith(_TEST_PREFIX)
        if key != variable and is_setting:
            yield key, text


def _unknown(
    prefix: str, key: str, names: Collection[str], old_names: Mapping[str, str]
) -> str:
    """Return the message about a variable that is not a setting."""
    files = (f"{name}{_FILE_SUFFIX}" for name in names)
    similar = old_names.get(key, "").upper() or find_similar(key, [*names, *files])
    hint = f"did you mean {prefix}_{similar}? If not, unset" if similar else "unset"
    return (
        f"{prefix}_{key} in the environment is not a setting; {hint} it, or choose "
        "another prefix with ENV_PREFIX=…"
    )


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
