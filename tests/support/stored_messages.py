"""The rows that a monitor has written for messages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Row, Table, func, select

from cadasta.workertoolbox.results._database.tables import attempt, quarantine
from support.processes import Process


def all_written(engine: Engine, monitor: Process, expected: int) -> bool:
    """Return whether a monitor has written a row for each of the messages.

    Raises:
        AssertionError: Rows are missing.
        ChildProcessError: The monitor has ended.
    """
    if monitor.exit_code is not None:
        raise ChildProcessError(f"{monitor}:\n{monitor.tail}")
    found = count_rows(engine, attempt) + count_rows(engine, quarantine)
    assert found >= expected, f"{found} of {expected} messages in the database"
    return True


def count_rows(engine: Engine, table: Table) -> int:
    """Return the number of rows of a table."""
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def rows_by_mark(engine: Engine, table: Table, column: str) -> dict[str, Row[Any]]:
    """Return the rows of a table by a column with the marks of their messages.

    Raises:
        AssertionError: Two rows have the same mark.
    """
    with engine.connect() as connection:
        found = list(connection.execute(select(table)))
    rows = {getattr(row, column): row for row in found}
    assert len(rows) == len(found)
    return rows


def quarantined_rows(engine: Engine) -> list[Row[Any]]:
    """Return the rows of the quarantine table."""
    with engine.connect() as connection:
        return list(connection.execute(select(quarantine)))
