"""Settings from environment variables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.app.defaults import Option

from cadasta.workertoolbox.conf._errors import InvalidValue, InvalidVariable
from cadasta.workertoolbox.conf._spelling import nearest
from cadasta.workertoolbox.conf._variables import SETTINGS, VARIABLES
from cadasta.workertoolbox.routing import mask_url

#: What the names of the variables begin with, unless `ENV_PREFIX` says otherwise.
PREFIX = "WORKERTOOLBOX"

#: The folder of an embedded configuration, which is no setting.
FOLDER = "FOLDER"

#: Variables of test suites, which are no settings either.
_TESTS = "TEST_"

#: Celery says `string` of both, and fails on the digits of a number.
_CORRECTIONS = {
    "broker_use_ssl": Option(type="any"),
    "task_default_delivery_mode": Option(type="any"),
    "task_default_priority": Option(type="int"),
}

_KNOWN = {
    name.upper(): (name, option)
    for name, option in {**SETTINGS, **_CORRECTIONS, **VARIABLES}.items()
}

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@dataclass(frozen=True)
class _Reader:
    """How a value of one type is read, and what to say when it cannot be."""

    read: Callable[[str], Any]
    expected: str = ""
    #: Whether a value may hold credentials where nobody can tell them apart.
    secret: bool = False


def read_environment(prefix: str) -> dict[str, Any]:
    """Return what the environment gives, under the names that `Config` takes.

    Args:
        prefix: What the names of the variables begin with, without the `_`.

    Raises:
        InvalidValue: The prefix is none.
        InvalidVariable: A variable with the prefix is no setting, or its value cannot
            be read.
    """
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z]\w*(?<!_)", prefix):
        raise InvalidValue(
            f"ENV_PREFIX={prefix!r} cannot begin the name of a variable; write letters "
            f"and digits, without the '_' that follows, as in {PREFIX!r}"
        )
    values = {}
    for variable, text in os.environ.items():
        if not variable.startswith(f"{prefix}_"):
            continue
        rest = variable.removeprefix(f"{prefix}_")
        if rest == FOLDER or rest.startswith(_TESTS):
            continue
        if rest not in _KNOWN:
            raise InvalidVariable(
                f"{variable} in the environment is no setting; did you mean "
                f"{prefix}_{nearest(rest, _KNOWN)}? Unset it if it is not for the "
                "toolbox, or choose other names with ENV_PREFIX=…"
            )
        name, option = _KNOWN[rest]
        values[name] = _value(variable, text, option)
    return values


def _value(variable: str, text: str, option: Option) -> Any:
    # Celery gives one of its types as a class, and the others as their names.
    reader = _READERS[str(getattr(option.type, "__name__", option.type))]
    try:
        return reader.read(text)
    except ValueError as error:
        shown = "********" if reader.secret else mask_url(text)
        place = f" (character {error.pos})" if hasattr(error, "pos") else ""
        # The cause would show the whole value.
        raise InvalidVariable(
            f"{variable}={shown!r} in the environment is no {reader.expected}{place}"
        ) from None


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError as error:
        raise ValueError(text) from error


def _list(text: str) -> list[Any]:
    if not text.strip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    items: list[Any] = json.loads(text)
    return items


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_READERS = {
    "string": _Reader(str),
    "str": _Reader(str),
    "bytes": _Reader(str.encode),
    "any": _Reader(_anything),
    "int": _Reader(int, "integer; write digits, as in 10"),
    "float": _Reader(float, "number; write digits, as in 0.5"),
    "bool": _Reader(_boolean, "boolean; write true or false"),
    "list": _Reader(_list, "list; write a,b or a JSON list"),
    "tuple": _Reader(lambda text: tuple(_list(text)), "list; write a,b or a JSON list"),
    "dict": _Reader(
        _object, 'JSON object; write one, as in {"region": "us-west-2"}', secret=True
    ),
}
