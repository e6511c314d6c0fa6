"""Values that a column of a table may have, but that the toolbox never writes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Date,
    Float,
    Integer,
    LargeBinary,
)
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.types import Instant, NaiveInstant

#: Values by the type of a column, as SQL for PostgreSQL. The nesting is deeper than
#: Python can decode.
_TEXTS = ("''", r"'\u0000'", r"E'\\x00'", "repeat('long', 125)", "'export.é'")
_NUMBERS = ("-1", "-2147483648", "2147483647")
_TIMES = ("'-infinity'", "'infinity'", "'20000-01-01'", "'0001-01-01'", "'1969-12-31'")
_DOCUMENTS = ("[]", "{}", "5", '"text"', "[{}]", "[null]", '{"runs": 3}', '["a", "b"]')
_PICKLE = pickle.dumps(ValueError("no map"), protocol=2)
_BYTES = (b"", b"\0", b"\xff\xfe", _PICKLE, b"[" * 200_000, b'{"exc_type": 5}')

#: Values that SQLite stores in any column.
_IN_SQLITE = (
    *("''", "'tomorrow'", "'20000-01-01 00:00:00.000000'", "'{'", "x'00ff'", "-1"),
    *("'a' || char(0) || 'b'", "9223372036854775807", "1e400", "NULL"),
)


def faulty_values(column: Column[Any], dialect: str) -> Iterator[str]:
    """Yield such values as SQL, which a database may refuse."""
    if dialect == "sqlite":
        yield from _IN_SQLITE
    if isinstance(column.type, LargeBinary):
        prefix = r"'\x" if dialect == "postgresql" else "x'"
        yield from (f"{prefix}{each.hex()}'" for each in _BYTES)
    elif isinstance(column.type, JSON):
        yield from (f"'{each}'" for each in _DOCUMENTS)
    elif dialect == "postgresql":
        if isinstance(column.type, Instant | NaiveInstant | Date):
            yield from _TIMES
        elif isinstance(column.type, Float):
            yield from ("'NaN'", "'Infinity'", *_NUMBERS)
        elif isinstance(column.type, Integer):
            yield from (*_NUMBERS, "9223372036854775807")
        elif not isinstance(column.type, Boolean):
            yield from _TEXTS
        yield "NULL"


def set_value(
    connection: Connection, column: Column[Any], value: str, *, where: str, id: str
) -> None:
    """Set a column of one row, if the database accepts the value.

    Args:
        value: As SQL.
        where: The column with the id of the row.
    """
    set_all(connection, column, value, f"{where} = '{id}'")


def set_all(
    connection: Connection, column: Column[Any], value: str, where: str = "true"
) -> None:
    """Set a column of the rows with a condition, if the database accepts the value."""
    statement = f"UPDATE {column.table} SET {column.name} = {value} WHERE {where}"
    with suppress(DBAPIError), connection.begin_nested():
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
