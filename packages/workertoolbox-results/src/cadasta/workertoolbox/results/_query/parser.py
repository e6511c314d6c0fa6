"""The parser of the query language.

query   = any
any     = all ("OR" all)*
all     = (["AND"] part)*
part    = ("NOT" | "-") part | "(" any ")" | term
term    = field ":" [operator] value ("," value)* | value
field   = name ("." segment)*
value   = '"' … '"' | characters without spaces, commas, quotes and parentheses
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import NoReturn

from cadasta.workertoolbox.results._database.statuses import STATUSES, USUAL_STATES
from cadasta.workertoolbox.results._durations import UNIT_FORM, parse_duration
from cadasta.workertoolbox.results._query.fields import FIELDS, Kind
from cadasta.workertoolbox.results._query.nodes import (
    EVERYTHING,
    Bound,
    Match,
    Node,
    Value,
    all_of,
    any_of,
    negated,
    unquote,
)
from cadasta.workertoolbox.results._query_errors import InvalidQuery

#: Maximum length of a query in characters: enough for four hundred ids.
MAX_LENGTH = 16_384

#: Maximum number of values, and of parentheses inside of parentheses. Each becomes a
#: condition in SQL.
MAX_VALUES = 500
MAX_DEPTH = 20

#: Maximum number of keys in a path. SQLite joins a table for each, at most 64.
MAX_PATH = 50

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_FIELD = re.compile(rf'(\w+)((?:\.(?:{_QUOTED}|[^\s.:"(),\\]+))*):', re.DOTALL)
_SEGMENT = re.compile(rf'\.({_QUOTED}|[^\s.:"(),\\]+)', re.DOTALL)
_BROKEN_FIELD = re.compile(r'[^\s"(),:\\]*:')
_VALUE = re.compile(rf'{_QUOTED}|(?:[^\s"(),\\]|\\.)+', re.DOTALL)
_OPERATOR = re.compile(r">=|<=|>|<|=")
_END = re.compile(r"[\s)]|$")
_SPACE = re.compile(r"\s*")
_KEYWORD = re.compile(r"(AND|OR|NOT)(?=[\s()]|$)")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_DIGITS = re.compile(r"[0-9]{1,12}")

_FLAGS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}

#: Similarity, as `difflib` measures it from 0 to 1, from which a field is suggested.
_MIN_SIMILARITY = 0.5

#: The largest number of retries and of seconds.
_MAX_NUMBER = 1e9


def parse_query(text: str) -> Node:
    """Return the query that a text means; an empty text means every task.

    Example:
        Two fields that must both match::

            parse_query("status:failure name:export.*")

    Raises:
        InvalidQuery: The text is not a query. The error has the column.
    """
    if len(text) > MAX_LENGTH:
        reason = f"the query is longer than {MAX_LENGTH} characters"
        raise InvalidQuery(text, MAX_LENGTH, reason)
    return _Parser(text).parse()


class _Parser:
    """A position in a text, and methods that each read one part of a query there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.count = 0

    def parse(self) -> Node:
        self._skip_space()
        if self.at == len(self.text):
            return EVERYTHING
        found = self._any()
        if self.at < len(self.text):
            self._fail("this parenthesis is never opened; remove it, or quote it")
        return found

    def _any(self) -> Node:
        parts = [self._all()]
        while self._takes("OR"):
            parts.append(self._all())
        return any_of(*parts)

    def _all(self) -> Node:
        parts = [self._part()]
        while not self._is_at_end():
            self._takes("AND")
            parts.append(self._part())
        return all_of(*parts)

    def _is_at_end(self) -> bool:
        rest = self.text[self.at :]
        keyword = _KEYWORD.match(rest)
        return not rest or rest[0] == ")" or bool(keyword and keyword[1] == "OR")

    def _part(self) -> Node:
        start = self.at
        if self._takes("NOT") or self._takes_sign("-"):
            return negated(self._nested(self._part, start))
        if self._takes_sign("("):
            found = self._nested(self._any, start)
            if not self._takes_sign(")"):
                self._fail("this parenthesis is never closed; add )", start)
            return found
        found = self._term()
        self._skip_space()
        return found

    def _nested(self, read: Callable[[], Node], start: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(f"the query is nested deeper than {MAX_DEPTH} levels", start)
        found = read()
        self.depth -= 1
        return found

    def _term(self) -> Node:
        start = self.at
        field = _FIELD.match(self.text, start)
        if field is None:
            broken = _BROKEN_FIELD.match(self.text, start)
            if broken:
                self._fail_field(broken[0][:-1])
            return self._word(start)
        name = field[1]
        path = tuple(
            unquote(each) if each[0] == '"' else each
            for each in _SEGMENT.findall(field[2])
        )
        if name not in FIELDS:
            self._fail_field(name)
        if len(path) > MAX_PATH:
            self._fail(f"the path has more than {MAX_PATH} keys", start)
        if FIELDS[name].has_path != bool(path):
            example = f"{name}.KEY:value" if FIELDS[name].has_path else f"{name}:value"
            self._fail(f"write {example} instead of {field[0][:-1]}:")
        self.at = field.end()
        return self._condition(name, path, start)

    def _condition(self, name: str, path: tuple[str, ...], start: int) -> Node:
        kind = FIELDS[name].kind
        operator = _OPERATOR.match(self.text, self.at)
        if kind in (Kind.NUMBER, Kind.DURATION):
            self.at = operator.end() if operator else self.at
            [(at, value), *others] = self._values(name)
            if others:
                self._fail(f"{name} takes one value; join several with OR", at)
            number = self._number(kind, value, at)
            return Bound(name, operator[0] if operator else "=", number, start)
        if operator:
            self._fail(f"{name} has no order; quote {operator[0]!r} to search for it")
        values = tuple(self._checked(kind, *each) for each in self._values(name))
        return Match(name, values, path, start)

    def _values(self, name: str) -> Iterator[tuple[int, Value]]:
        """Yield the values of a list, each with its column."""
        while True:
            at = self.at
            match = _VALUE.match(self.text, at)
            if match is None:
                self._fail_value(name)
            self.at = match.end()
            self.count += 1
            if self.count > MAX_VALUES:
                self._fail(f"the query has more than {MAX_VALUES} values", at)
            is_quoted = match[0][0] == '"'
            text = unquote(match[0]) if is_quoted else match[0]
            yield at, Value(text, is_quoted)
            if not self.text.startswith(",", self.at):
                break
            self.at += 1
        if not _END.match(self.text, self.at):
            self._fail("put a space before this, or quote the whole value")

    def _word(self, start: int) -> Node:
        """Read a value without a field: an id, or a part of a name."""
        if self.text.startswith(",", self.at):
            self._fail("a list needs a field, as in status:failure,lost")
        values = list(self._values(""))
        if len(values) > 1:
            self._fail("a list needs a field, as in status:failure,lost", start)
        [(_, value)] = values
        if not value.quoted and value.text.upper() in ("AND", "OR", "NOT"):
            word = value.text.upper()
            self._fail(
                f"write {word} in capitals between two terms, or quote it", start
            )
        if _UUID.fullmatch(value.text):
            return Match("id", (value,), column=start)
        text = value.literal
        if text is not None:
            value = Value.containing(text)
        elif not value.quoted and _OPERATOR.match(value.text):
            # After `name:`, it would be an operator.
            value = Value(f"\\{value.text}")
        return Match("name", (value,), column=start)

    def _checked(self, kind: Kind, at: int, value: Value) -> Value:
        """Return a value in its usual form."""
        if kind is Kind.STATUS:
            text = value.literal
            if text is None:
                self._fail("write whole statuses, as in status:failure,lost", at)
            usual = text if value.quoted else text.upper()
            is_known = usual in (*STATUSES, *USUAL_STATES)
            return Value(usual) if is_known else Value(text, quoted=True)
        if kind is Kind.FLAG:
            flag = _FLAGS.get(value.text.lower())
            if flag is None:
                self._fail(f"write yes or no, not {value}", at)
            return Value(flag)
        return value

    def _number(self, kind: Kind, value: Value, at: int) -> float:
        if kind is Kind.NUMBER and not _DIGITS.fullmatch(value.text):
            self._fail(f"write a whole number instead of {value}", at)
        try:
            read = parse_duration if kind is Kind.DURATION else int
            number = read(value.text)
        except ValueError:
            self._fail(f"write {UNIT_FORM}, as in 10s, instead of {value}", at)
        if not math.isfinite(number) or number > _MAX_NUMBER:
            self._fail(f"{value} is too large", at)
        return float(number)

    def _takes(self, keyword: str) -> bool:
        match = _KEYWORD.match(self.text, self.at)
        if match is None or match[1] != keyword:
            return False
        self.at = match.end()
        self._skip_space()
        return True

    def _takes_sign(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += 1
        self._skip_space()
        return True

    def _skip_space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _fail(self, reason: str, at: int | None = None) -> NoReturn:
        raise InvalidQuery(self.text, self.at if at is None else at, reason)

    def _fail_value(self, name: str) -> NoReturn:
        wanted = f"write a value directly after {name}:" if name else "write a term"
        if self.text.startswith('"', self.at):
            self._fail("this quote is never closed; add one at the end of the value")
        if self.at >= len(self.text):
            self._fail(f"the query ends too early; {wanted}")
        self._fail(f"{wanted} instead of {self.text[self.at]}")

    def _fail_field(self, name: str) -> NoReturn:
        near = get_close_matches(name.lower(), FIELDS, n=1, cutoff=_MIN_SIMILARITY)
        hint = (
            f"did you mean {near[0]}:?" if near else f"fields are {', '.join(FIELDS)}"
        )
        self._fail(f"no field is called {name!r}; {hint}; quote a text with a colon")
