"""SQL statements on a connection of their own, each in its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL, NullPool, create_engine, text


def execute(database: str | URL, *statements: str) -> None:
    """Execute statements one after the other."""
    for statement in statements:
        fetch(database, statement)


def fetch(database: str | URL, query: str, **values: object) -> Sequence[Any]:
    """Execute one statement, and return its rows, if it returns any."""
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    with create_engine(database, **options).connect() as connection:
        result = connection.execute(text(query), values)
        return list(result) if result.returns_rows else []
