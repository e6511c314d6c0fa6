"""The parts that several tables have in common."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, MetaData, text

metadata = MetaData()

#: Maximum length in characters of a name in Celery's columns.
NAME_LENGTH = 155

#: Only `INTEGER` numbers the rows of a table in SQLite; it has eight bytes there.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


def partial_index(name: str, *columns: str, rows: str) -> Index:
    """Return an index of some rows only; it does not slow down writing other rows."""
    where = text(rows)
    name = f"ix_workertoolbox_{name}"
    return Index(name, *columns, postgresql_where=where, sqlite_where=where)
