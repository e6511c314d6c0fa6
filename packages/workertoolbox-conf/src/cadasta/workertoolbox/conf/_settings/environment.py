"""Settings from environment variables, and from files that these name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from celery.app.defaults import Option

from cadasta.workertoolbox.conf._errors import InvalidValue, InvalidVariable
from cadasta.workertoolbox.conf._settings.celery import SETTINGS
from cadasta.workertoolbox.conf._settings.names import OLD_NAMES
from cadasta.workertoolbox.conf._settings.parsing import READERS
from cadasta.workertoolbox.conf._settings.spelling import nearest
from cadasta.workertoolbox.conf._settings.variables import PREFIX, VARIABLES, Variable
from cadasta.workertoolbox.routing import mask_url

#: The folder of an embedded configuration, which is no setting.
FOLDER = "FOLDER"

#: Variables of test suites, which are no settings either.
_TESTS = "TEST_"

#: What follows the name of a setting whose value is in a file, as containers mount
#: secrets.
_FILE = "_FILE"

_KNOWN: dict[str, tuple[str, Option | Variable]] = {
    **{name.upper(): (name, option) for name, option in SETTINGS.items()},
    **{name: (name, variable) for name, variable in VARIABLES.items()},
}


def read_environment(prefix: str) -> dict[str, Any]:
    """Return what the environment gives, under the names that `Config` takes.

    Args:
        prefix: What the names of the variables begin with, without the `_`.

    Raises:
        InvalidValue: The prefix is none.
        InvalidVariable: A variable with the prefix is no setting, its value cannot be
            read, nor can the file that it names, or the value is given twice.
    """
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z]\w*(?<!_)", prefix):
        raise InvalidValue(
            f"ENV_PREFIX={prefix!r} cannot begin the name of a variable; write letters "
            f"and digits, without the '_' that follows, as in {PREFIX!r}"
        )
    given = {
        variable.removeprefix(f"{prefix}_"): text
        for variable, text in os.environ.items()
        if variable.startswith(f"{prefix}_")
    }
    values = {}
    for rest, text in given.items():
        if rest == FOLDER or rest.startswith(_TESTS):
            continue
        variable = f"{prefix}_{rest}"
        setting = rest if rest in _KNOWN else rest.removesuffix(_FILE)
        if setting not in _KNOWN:
            raise InvalidVariable(
                f"{variable} in the environment is no setting; did you mean "
                f"{prefix}_{_nearest(rest)}? Unset it if it is not for the "
                "toolbox, or choose other names with ENV_PREFIX=…"
            )
        name, option = _KNOWN[setting]
        if setting == rest:
            values[name] = _value(variable, text, option)
        elif setting in given:
            raise InvalidVariable(
                f"{prefix}_{setting} and {variable} are both in the environment; unset "
                "one of them"
            )
        else:
            content = _content(variable, text)
            values[name] = _value(variable, content, option, file=text)
    return values


def _nearest(rest: str) -> str:
    if old := OLD_NAMES.get(rest):
        return old.upper()
    return nearest(rest, [*_KNOWN, *(f"{name}{_FILE}" for name in _KNOWN)])


def _content(variable: str, path: str) -> str:
    """Return what is in a file, without the line end that editors add."""
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        # The cause would show what is in the file.
        raise InvalidVariable(
            f"{variable}={path!r} in the environment names a file that cannot be read "
            f"({reason}); name one that this process can read"
        ) from None


def _value(
    variable: str, text: str, option: Option | Variable, *, file: str | None = None
) -> Any:
    # Celery gives one of its types as a class, and the others as their names.
    reader = READERS[str(getattr(option.type, "__name__", option.type))]
    try:
        return reader.read(text)
    except ValueError as error:
        shown = "********" if reader.is_secret else mask_url(text)
        place = f" (character {error.pos})" if hasattr(error, "pos") else ""
        where = (
            f"{variable}={shown!r} in the environment"
            if file is None
            else f"what is in {file!r}, which {variable} names,"
        )
        # The cause would show the whole value.
        raise InvalidVariable(f"{where} is no {reader.expected}{place}") from None
