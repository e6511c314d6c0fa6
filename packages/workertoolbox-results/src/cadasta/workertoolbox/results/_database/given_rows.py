"""Rows that are passed to a statement as one JSON array of arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Text,
    bindparam,
    cast,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB

encode_rows = json.JSONEncoder(separators=(",", ":")).encode


def given_rows(dialect: str, columns: Iterable[Column[Any]]) -> Select[Any]:
    """Return a query for rows in the parameter `rows`, which `encode_rows` encodes.

    That is the fastest way to pass rows whose columns are used more than once.

    Args:
        columns: The names and types of the values in each row.
    """
    rows = bindparam("rows", type_=Text)
    if dialect == "sqlite":
        given = func.json_each(rows).table_valued("value")
    else:
        given = func.jsonb_array_elements(cast(rows, JSONB)).table_valued("value")

    def element(position: int, column: Column[Any]) -> ColumnElement[Any]:
        if dialect == "sqlite":
            value = func.json_extract(given.c.value, f"$[{position}]")
            return type_coerce(value, column.type)
        return cast(given.c.value.op("->>")(position), column.type)

    elements = (
        element(position, each).label(each.name)
        for position, each in enumerate(columns)
    )
    return select(*elements).select_from(given)


def encode_instant(instant: datetime, dialect: str) -> str:
    """Return an instant for `encode_rows`; in SQLite, in the form that is stored."""
    if dialect == "sqlite" and instant.tzinfo is not None:
        instant = instant.astimezone(UTC).replace(tzinfo=None)
    return instant.isoformat(" ", "microseconds")
