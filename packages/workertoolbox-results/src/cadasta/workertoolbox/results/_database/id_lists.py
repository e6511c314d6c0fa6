"""Conditions for many ids in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Text, cast, func, literal
from sqlalchemy.dialects.postgresql import ARRAY


def is_in(
    connection: Connection, column: Column[Any], ids: Sequence[str]
) -> ColumnElement[bool]:
    """Return a condition that a column has one of the ids.

    PostgreSQL gets the ids as one constant. That takes a tenth of the time of a list of
    parameters, in PostgreSQL and in Python. The planner treats it like a list.
    """
    if connection.dialect.name != "postgresql":
        return column.in_(ids)
    return column == func.any(cast(literal(_array(ids), Text), ARRAY(Text)))


def _array(ids: Sequence[str]) -> str:
    """Return ids as PostgreSQL reads an array of texts."""
    if not ids:
        return "{}"
    all = "".join(ids)
    if "\\" in all or '"' in all:
        ids = [id.replace("\\", r"\\").replace('"', r"\"") for id in ids]
    quoted = '","'.join(ids)
    return f'{{"{quoted}"}}'
