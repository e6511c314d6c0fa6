"""The arguments of a message as they are stored, and whether they are complete.

A task can be published again only with exactly the arguments that it had. What is
stored does not show that: a function of `REDACT` can replace a value by any other one,
and `"NaN"` may have been a text or a number. Therefore the form is stored as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import truncate_arguments

#: Parts of floats that `jsonb` changes. PostgreSQL stores numbers as decimals: it
#: writes `1e+16` as an integer, and has no negative zero.
_UNSAFE = ("e+", "-0.0")

# `json.dumps` with an option takes twice as long, as it makes an encoder.
_encode = json.JSONEncoder(sort_keys=True, check_circular=False).encode

#: Hexadecimal digits of a digest: enough to notice any change that is not made on
#: purpose.
_DIGEST_LENGTH = 16


class Form(StrEnum):
    """How the arguments of a task are stored: the column `arguments`."""

    #: As JSON that equals the JSON of the message.
    WHOLE = "whole"

    #: As a text that the publisher gave as `argsrepr` or `kwargsrepr`.
    REPR = "repr"

    #: Without secret values, or changed by a function of `REDACT`.
    REDACTED = "redacted"

    #: Without large values.
    TRUNCATED = "truncated"

    #: With another value in place of one that databases do not keep, such as NaN.
    CONVERTED = "converted"


class StoredArguments(NamedTuple):
    """The arguments as they are stored, their form, and all of them as JSON."""

    args: Any
    kwargs: Any
    form: Form
    encoded: str


def store_arguments(
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    headers: Mapping[str, Any],
    *,
    redaction: Redaction,
    max_bytes: int,
    hidden: list[Any],
) -> StoredArguments:
    """Return the arguments of a message in the form in which they are stored.

    Args:
        name: The name in the message.
        hidden: List to which every masked value is added.

    Raises:
        ValueError: They are nested too deep.
        RecursionError: Likewise.
    """
    # Functions of `REDACT` may change values in place, or only their types.
    original = _encode([args, kwargs]) if redaction.has_functions else None
    shown = redaction.redact_message(name, args, kwargs, headers, hidden=hidden)
    whole = jsonable(shown[0]), jsonable(shown[1])
    encoded = _encode(whole)
    kept = truncate_arguments(*whole, max_bytes, size=len(encoded))
    if isinstance(kept[0], str) or isinstance(kept[1], str):
        form = Form.REPR
    elif kept[0] is not whole[0] or kept[1] is not whole[1]:
        form = Form.TRUNCATED
    elif hidden or (original is not None and not _equals(shown, original)):
        form = Form.REDACTED
    elif kept == (args, kwargs):
        form = Form.WHOLE
    else:
        # A secret that is None or a mask already is not hidden.
        is_redacted = shown != (args, kwargs)
        form = Form.REDACTED if is_redacted else Form.CONVERTED
    return StoredArguments(*kept, form, encoded)


def seal(stored: StoredArguments, headers: Any) -> tuple[Form, str | None]:
    """Return the form of arguments, and their digest if they are whole.

    Args:
        headers: The headers of users as they are stored.
    """
    if stored.form is not Form.WHOLE:
        return stored.form, None
    if not is_kept_exactly(stored.encoded, [stored.args, stored.kwargs]):
        return Form.CONVERTED, None
    return stored.form, _digest(stored.encoded, headers)


def digest(args: Any, kwargs: Any, headers: Any) -> str:
    """Return a digest of what is stored of a message.

    If a monitor of an earlier release stores a later message of the task, it replaces
    the arguments, but not what this release has stored of them.
    """
    return _digest(_encode([args, kwargs]), headers)


def _digest(encoded: str, headers: Any) -> str:
    text = encoded if headers is None else encoded + _encode(headers)
    return sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def is_kept_exactly(encoded: str, value: Any) -> bool:
    """Return whether PostgreSQL keeps the numbers in a JSON value.

    Args:
        encoded: The value as JSON.
    """
    # Few texts have these parts; looking at each value takes longer.
    may_be_unsafe = any(part in encoded for part in _UNSAFE)
    return not may_be_unsafe or all(map(_is_safe, _floats(value)))


def _is_safe(number: float) -> bool:
    is_negative_zero = number == 0 and math.copysign(1, number) < 0
    return not is_negative_zero and "e+" not in repr(number)


def _floats(value: Any) -> Iterator[float]:
    match value:
        case float():
            yield value
        case dict():
            for item in value.values():
                yield from _floats(item)
        case list() | tuple():
            for item in value:
                yield from _floats(item)


def _equals(shown: tuple[Any, Any], encoded: str) -> bool:
    """Return whether arguments have the same values and types as encoded ones."""
    try:
        return _encode(shown) == encoded
    except (TypeError, ValueError):
        return False  # A function of `REDACT` returned something else than JSON.
