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
    quoted = (id.replace("\\", r"\\").replace('"', r"\"") for id in ids)
    array = ",".join(f'"{id}"' for id in quoted)
    return column == func.any(cast(literal(f"{{{array}}}", Text), ARRAY(Text)))
