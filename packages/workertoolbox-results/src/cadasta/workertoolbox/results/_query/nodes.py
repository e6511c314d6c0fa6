"""The parts of a query. They are values, and `str` gives a text for the parser."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from cadasta.workertoolbox.results._query.fields import FIELDS, Kind

#: A wildcard, or a literal character; a backslash makes the next one literal.
_PIECE = re.compile(r"[*?]|\\(.)|\\$|.", re.DOTALL)

#: Characters that a backslash makes literal outside of quotes.
_SPECIAL = re.compile(r'[\s*?\\"(),:<>=-]')

#: A path segment that needs no quotes.
_PLAIN_SEGMENT = re.compile(r'[^\s.:"(),\\]+')


@dataclass(frozen=True, slots=True)
class Value:
    """A text that a field is compared with.

    Attributes:
        text: The text, without quotes and their backslashes. If it was not quoted, as
            it was written: `*` and `?` are wildcards, and a backslash makes the next
            character literal.
        quoted: Whether it was quoted. Then it has no wildcards.
    """

    text: str
    quoted: bool = False

    @classmethod
    def containing(cls, text: str) -> Value:
        """Return the pattern of texts that contain a text."""
        return cls(f"*{_SPECIAL.sub(_escape, text)}*")

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield the characters of the text, each with whether it is a wildcard."""
        if self.quoted:
            yield from ((each, False) for each in self.text)
            return
        for match in _PIECE.finditer(self.text):
            if match[0] in ("*", "?"):
                yield match[0], True
            else:
                yield match[1] or match[0], False

    @property
    def literal(self) -> str | None:
        """The text without backslashes, or None if it has wildcards."""
        pieces = list(self.pieces())
        if any(is_wildcard for _, is_wildcard in pieces):
            return None
        return "".join(character for character, _ in pieces)

    def __str__(self) -> str:
        return quote(self.text) if self.quoted else self.text


@dataclass(frozen=True, slots=True)
class Match:
    """A field has one of several values.

    Attributes:
        field: A key of `FIELDS`.
        values: The values.
        path: The path inside of the arguments, such as `("order", "id")`.
        column: Where it begins in the text of the query; equal nodes may differ in it.
    """

    field: str
    values: tuple[Value, ...]
    path: tuple[str, ...] = ()
    column: int = dataclasses.field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        path = "".join(f".{_segment(each)}" for each in self.path)
        return f"{self.field}{path}:{','.join(map(str, self.values))}"


@dataclass(frozen=True, slots=True)
class Bound:
    """A number or a duration is within a bound.

    Attributes:
        field: A key of `FIELDS`.
        operator: `>`, `>=`, `<`, `<=` or `=`.
        number: The bound; of a duration, in seconds.
        column: As in `Match`.
    """

    field: str
    operator: str
    number: float
    column: int = dataclasses.field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        operator = "" if self.operator == "=" else self.operator
        # Not `repr`, which may have an exponent.
        number = f"{Decimal(repr(self.number)):f}".removesuffix(".0")
        unit = "s" if FIELDS[self.field].kind is Kind.DURATION else ""
        return f"{self.field}:{operator}{number}{unit}"


@dataclass(frozen=True, slots=True)
class Not:
    """A part of a query does not hold."""

    part: Node

    def __str__(self) -> str:
        inner = str(self.part)
        return f"-({inner})" if isinstance(self.part, And | Or) else f"-{inner}"


@dataclass(frozen=True, slots=True)
class And:
    """All parts match. Without parts, it matches every task."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " ".join(
            f"({part})" if isinstance(part, Or) else str(part) for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of several parts holds."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.parts))


Node = Match | Bound | Not | And | Or

#: The query of every task.
EVERYTHING = And(())


def all_of(*parts: Node) -> Node:
    """Return a query for all of these parts, without And inside of And."""
    flat: list[Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, And) else [part]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(*parts: Node) -> Node:
    """Return a query for any of these parts, without Or inside of Or."""
    flat: list[Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, Or) else [part]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negated(part: Node) -> Node:
    """Return a query for the tasks for which a part does not hold."""
    return part.part if isinstance(part, Not) else Not(part)


def leaves(node: Node) -> Iterator[Match | Bound]:
    """Yield the conditions on single fields in a query."""
    match node:
        case Not(part):
            yield from leaves(part)
        case And(parts) | Or(parts):
            for each in parts:
                yield from leaves(each)
        case _:
            yield node


def quote(text: str) -> str:
    """Return a text in double quotes."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def unquote(text: str) -> str:
    """Return the text inside of double quotes."""
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _segment(text: str) -> str:
    return text if _PLAIN_SEGMENT.fullmatch(text) else quote(text)
