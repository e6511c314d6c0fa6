"""Kinds of parameters: how each is read, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Protocol

from starlette.exceptions import HTTPException

from cadasta.workertoolbox.results._ages import parse_age
from cadasta.workertoolbox.results._durations import UNIT_FORM
from cadasta.workertoolbox.results._instants import parse_instant
from cadasta.workertoolbox.results._query.parser import MAX_LENGTH
from cadasta.workertoolbox.results._query_errors import TIME_FORM

#: Maximum number of characters of a value that an error shows.
_MAX_SHOWN = 100

_AGE = r"[0-9]*\.?[0-9]+(ms|s|m|h|d|w)"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO = rf"{_DATE}([T ][0-9:.,]+(Z|[+-][0-9:]+)?)?"


class InvalidParameter(HTTPException):
    """A parameter of a request is unknown, missing or malformed."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class Kind(Protocol):
    """A kind of parameter."""

    def read(self, text: str) -> Any:
        """Return the value that a text means.

        Raises:
            ValueError: The text means nothing. Its message says what the parameter
                must be, without its name.
        """

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the texts that may be valid."""


@dataclass(frozen=True)
class Text:
    """A text that every database can store.

    Attributes:
        max_length: Maximum number of characters.
        min_length: Their minimum number.
    """

    max_length: int = 500
    min_length: int = 1

    def read(self, text: str) -> str:
        """Return the text."""
        if not self.min_length <= len(text) <= self.max_length:
            raise ValueError(
                f"must have {self.min_length} to {self.max_length} characters, "
                f"not {len(text)}"
            )
        if "\0" in text or not _is_unicode(text):
            raise ValueError("must not contain NUL or lone surrogates")
        return text

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        lengths = {"minLength": self.min_length, "maxLength": self.max_length}
        return {"type": "string", **lengths, "pattern": r"^[^\u0000]*$"}


@dataclass(frozen=True)
class WholeNumber:
    """A whole number.

    Attributes:
        least: The smallest one.
        most: The largest one.
    """

    least: int
    most: int

    def read(self, text: str) -> int:
        """Return the number."""
        found = int(text) if re.fullmatch("[0-9]{1,9}", text) else None
        if found is None or not self.least <= found <= self.most:
            raise ValueError(f"must be a whole number from {self.least} to {self.most}")
        return found

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Flag:
    """`true` or `false`."""

    def read(self, text: str) -> bool:
        """Return the value."""
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of some texts."""

    options: Sequence[str]

    def read(self, text: str) -> str:
        """Return the text."""
        if text not in self.options:
            raise ValueError(f"must be one of {', '.join(self.options)}")
        return text

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {"type": "string", "enum": [*self.options]}


@dataclass(frozen=True)
class Time:
    """An instant such as `2h`, `yesterday` or ISO 8601; UTC without an offset."""

    pattern = f"now|today|yesterday|{_AGE}|{_CLOCK}|{_ISO}"

    def read(self, text: str) -> datetime:
        """Return the instant."""
        if len(text) <= _MAX_SHOWN and re.fullmatch(self.pattern, text):
            try:
                return parse_instant(text, now=datetime.now(UTC), zone=UTC)
            except ValueError:
                pass
        raise ValueError(f"must be {TIME_FORM}")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        pattern = f"^({self.pattern})$"
        return {"type": "string", "pattern": pattern, "maxLength": _MAX_SHOWN}


@dataclass(frozen=True)
class Length:
    """A length of time such as `15m`."""

    def read(self, text: str) -> timedelta:
        """Return the length."""
        if len(text) <= _MAX_SHOWN and re.fullmatch(_AGE, text):
            try:
                return parse_age(text)
            except ValueError:
                pass
        raise ValueError(f"must be {UNIT_FORM}, as in 15m, and at most 36500d")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {"type": "string", "pattern": f"^{_AGE}$", "maxLength": _MAX_SHOWN}


#: The types of parameters that several endpoints have.
Id = Annotated[str, Text()]
Name = Annotated[str | None, Text()]
Query = Annotated[str, Text(MAX_LENGTH, min_length=0)]
Token = Annotated[str | None, Text(4000)]
Limit = Annotated[int, WholeNumber(1, 500)]
Flagged = Annotated[bool, Flag()]
Instant = Annotated[datetime | None, Time()]
Duration = Annotated[timedelta | None, Length()]


def refuse(name: str, text: str, reason: str) -> InvalidParameter:
    """Return the error of a parameter with a malformed value."""
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return InvalidParameter(f"{name} {reason}, got {shown!r}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
