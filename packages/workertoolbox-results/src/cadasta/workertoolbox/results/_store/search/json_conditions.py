"""SQL conditions on values inside of JSON: arguments, headers and stamps.

A quoted value matches a string. An unquoted number, `true`, `false` or `null` matches
both this value and the string with the same characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    or_,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._query.nodes import Match, Value
from cadasta.workertoolbox.results._store.search.patterns import glob_pattern, matches

#: A position in a list. PostgreSQL also counts from the end; that is not wanted.
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")

_WORDS = ("true", "false", "null")

#: Maximum number of alternatives that are looked up in the index on the history. Each
#: segment of a path that may be a key or a position doubles the number.
MAX_PARTS = 16

#: The largest integer that SQLite compares exactly.
_MAX_INTEGER = 2**63 - 1


def has_json_value(match: Match, table: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a value at a path equals one of several values.

    The first segment of a path in the arguments is the position of a positional
    argument, or the name of a keyword argument. Headers and stamps that are lists match
    if an element does.

    Args:
        table: The table or view with the JSON.
    """
    column, path, is_list = f"{table}.headers", match.path, match.field != "args"
    if match.field == "args":
        is_position = _INDEX.fullmatch(path[0])
        column = f"{table}.{'args' if is_position else 'kwargs'}"
    if dialect == "sqlite":
        return _in_sqlite(match.values, column, path, is_list=is_list)
    document = literal_column(column, JSONB)
    found: ColumnElement[Any] = document
    for segment in path:
        found = _step(found, segment)
    equal = or_(*(_equals(found, value, is_list=is_list) for value in match.values))
    parts = _parts(match) if table == history.name else []
    if not parts:
        return equal
    # One index has the values of most tasks, and another the other tasks.
    contains = or_(*(_contains(document, part) for part in parts))
    return and_(or_(and_(history.c.large.is_(None), contains), history.c.large), equal)


def _parts(match: Match) -> Sequence[str]:
    """Return JSON texts; each document that matches contains one of them.

    A document that does not match may contain one, too, because containment ignores the
    order of lists. There are none for patterns, and none instead of more than
    `MAX_PARTS`.
    """
    documents: list[str] = []
    for value in match.values:
        if value.literal is None:
            return []
        documents += _documents(value, value.literal)
    if match.field != "args":
        documents += [f"[{each}]" for each in documents]
    for depth, segment in reversed([*enumerate(match.path)]):
        if len(documents) > MAX_PARTS:
            return []
        key = json.dumps(jsonable_text(segment))
        objects = [f"{{{key}: {each}}}" for each in documents]
        lists = [f"[{each}]" for each in documents]
        if not _INDEX.fullmatch(segment):
            documents = objects
        elif depth == 0 and match.field == "args":
            documents = lists
        else:
            documents = objects + lists
    return documents if len(documents) <= MAX_PARTS else []


def _contains(document: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    contained = cast(literal(part, Text), JSONB)
    return document.op("@>", is_comparison=True)(contained)


def _step(document: ColumnElement[Any], segment: str) -> ColumnElement[Any]:
    """Return the item of an object with this key, or the item of a list there."""
    key = jsonable_text(segment)
    if not _INDEX.fullmatch(segment):
        return document.op("->", return_type=JSONB())(cast(literal(key), Text))
    path = cast(literal([key], ARRAY(Text)), ARRAY(Text))
    return document.op("#>", return_type=JSONB())(path)


def _equals(
    found: ColumnElement[Any], value: Value, *, is_list: bool
) -> ColumnElement[bool]:
    text = value.literal
    kind = func.jsonb_typeof(found)
    if text is None:
        if value.text == "*":
            return and_(found.is_not(None), kind != "null")
        characters = found.op("#>>", return_type=Text())(literal_column("'{}'"))
        return and_(kind == "string", matches(characters, value.pieces(), "postgresql"))
    documents = [cast(literal(each, Text), JSONB) for each in _documents(value, text)]
    if not is_list:
        return found.in_(documents)
    return or_(*(found.op("@>", is_comparison=True)(each) for each in documents))


def _documents(value: Value, text: str) -> Iterator[str]:
    """Yield the JSON that a value stands for."""
    yield json.dumps(jsonable_text(text))
    if not value.quoted and (text in _WORDS or _NUMBER.fullmatch(text)):
        yield text


def _in_sqlite(
    values: Sequence[Value], column: str, path: Sequence[str], *, is_list: bool
) -> ColumnElement[bool]:
    found = []
    for value in values:
        for depth in (0, 1) if is_list else (0,):
            found.append(_exists(value, column, path, depth))
    return or_(*found)


def _exists(
    value: Value, column: str, path: Sequence[str], elements: int
) -> ColumnElement[bool]:
    """Return a condition in SQLite, with a table for each segment of the path.

    A path of SQLite's own would compare keys as they are encoded in JSON.

    Args:
        elements: 1 if an element of the list at the path is wanted, else 0.
    """
    tables, conditions = [], []
    binds: dict[str, Any] = {}
    document = column
    for number, segment in enumerate([*path, *[None] * elements]):
        step = f"step{number}"
        tables.append(f"json_each({document}) AS {step}")
        if segment is not None:
            binds[f"key{number}"] = jsonable_text(segment)
            conditions.append(f"CAST({step}.key AS TEXT) = :key{number}")
        document = f"CASE WHEN {step}.type IN ('array', 'object') THEN {step}.value END"
    conditions.append(_is_equal(step, value, binds))
    sql = f"EXISTS (SELECT 1 FROM {', '.join(tables)} WHERE {' AND '.join(conditions)})"
    clause = text(sql).bindparams(
        *(bindparam(name, each, unique=True) for name, each in binds.items())
    )
    return and_(true(), clause)


def _is_equal(step: str, value: Value, binds: dict[str, Any]) -> str:
    written = value.literal
    if written is None:
        if value.text == "*":
            return f"{step}.type <> 'null'"
        binds["pattern"] = glob_pattern(value.pieces())
        return f"{step}.type = 'text' AND {step}.value GLOB :pattern"
    binds["text"] = jsonable_text(written)
    same = [f"{step}.type = 'text' AND {step}.value = :text"]
    for document in [*_documents(value, written)][1:]:
        if document in _WORDS:
            same.append(f"{step}.type = '{document}'")
            continue
        number = json.loads(document)
        is_exact = isinstance(number, int) and abs(number) <= _MAX_INTEGER
        binds["number"] = number if is_exact else float(number)
        is_number = f"{step}.type IN ('integer', 'real')"
        same.append(f"{is_number} AND {step}.value = :number")
    return f"({' OR '.join(same)})"
