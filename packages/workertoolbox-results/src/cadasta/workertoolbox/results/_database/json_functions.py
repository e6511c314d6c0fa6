"""Functions of PostgreSQL and SQLite for JSON, and for what is stored in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Text, case, cast, func, literal_column

from cadasta.workertoolbox.results._database.types import Document


def seconds_between(
    dialect: Dialect, first: ColumnElement[Any], second: ColumnElement[Any]
) -> ColumnElement[Any]:
    """Return the distance of two instants in seconds."""
    if dialect.name == "postgresql":
        return func.abs(func.extract("epoch", first - second))
    return func.abs(func.julianday(first) - func.julianday(second)) * 86400


def json_object(
    dialect: Dialect, values: Mapping[str, ColumnElement[Any]]
) -> ColumnElement[Any]:
    """Return an object.

    Args:
        values: The values by keys, which have no quotes in them.
    """
    is_postgresql = dialect.name == "postgresql"
    build = func.jsonb_build_object if is_postgresql else func.json_object
    pairs: list[ColumnElement[Any]] = []
    for key, value in values.items():
        pairs += (literal_column(f"'{key}'"), value)
    return build(*pairs)


def as_json(dialect: Dialect, text: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the JSON value in a text."""
    if dialect.name == "postgresql":
        return cast(text, Document)
    return func.json(text)


def text_of(
    dialect: Dialect, value: ColumnElement[Any], key: str
) -> ColumnElement[Any]:
    """Return the value of a key of an object, as text."""
    if dialect.name == "postgresql":
        return value.op("->>")(literal_column(f"'{key}'"))
    return func.json_extract(value, literal_column(f"'$.{key}'"))


def last_item(dialect: Dialect, array: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the last item of an array, or NULL without items."""
    if dialect.name == "postgresql":
        return array.op("->")(literal_column("-1"))
    return func.json_extract(array, "$[#-1]")


def appended(
    dialect: Dialect, array: ColumnElement[Any], item: ColumnElement[Any], limit: int
) -> ColumnElement[Any]:
    """Return an array, or NULL as an empty one, with one more item.

    Args:
        limit: Number of items from which the first one is left out instead.
    """
    if dialect.name == "postgresql":
        known = func.coalesce(array, cast(literal_column("'[]'"), Document))
        is_full = func.jsonb_array_length(known) >= limit
        kept = case((is_full, known.op("-")(literal_column("0"))), else_=known)
        return kept.op("||")(item)
    known = func.coalesce(array, literal_column("'[]'"))
    is_full = func.json_array_length(known) >= limit
    kept = case((is_full, func.json_remove(known, "$[0]")), else_=known)
    return func.json_insert(kept, "$[#]", item)


def ascii_text(dialect: Dialect, encoded: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return bytes of ASCII as text."""
    if dialect.name == "postgresql":
        # Never fails, whatever the bytes are. JSON is ASCII, but for its backslashes.
        return func.replace(
            func.encode(encoded, "escape"),
            literal_column(r"'\\'"),
            literal_column(r"'\'"),
        )
    return cast(encoded, Text)


def last_characters(
    dialect: Dialect, text: ColumnElement[Any], count: int
) -> ColumnElement[Any]:
    """Return the end of a text."""
    if dialect.name == "postgresql":
        return func.right(text, count)
    return func.substr(text, -count)
