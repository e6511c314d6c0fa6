"""The locks that a query on the whole history takes, compared with those of the server.

PostgreSQL locks each table that a query plans, and each of its indexes, until the
transaction ends. The toolbox searches the history by windows of days, which need few
locks. Other programs may query all days at once, for example through the view
`workertoolbox_tasks`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from cadasta.workertoolbox.results._database.engine import translate_errors

#: Number of queries on the whole history for which the lock table should have room.
#: With half of them, the server is close to its limit.
QUERIES = 4

_USE = text(
    "SELECT tables, locks, transactions, capacity FROM workertoolbox_lock_use()"
)


class LockUse(NamedTuple):
    """The locks of one query on the whole history.

    Attributes:
        tables: Number of tables that the history has.
        locks: Number of locks that the query takes.
        transactions: Number of transactions that the server may have at a time.
        capacity: Number of locks for which all transactions together have room at
            least: `max_locks_per_transaction` for each.
    """

    tables: int
    locks: int
    transactions: int
    capacity: int

    @property
    def is_high(self) -> bool:
        """Whether two queries on the whole history may fill the lock table."""
        return self.locks > self.capacity // (QUERIES // 2)

    def __str__(self) -> str:
        advised = math.ceil(QUERIES * self.locks / self.transactions)
        return (
            f"the history has {self.tables} tables, and a query on all of them takes "
            f"{self.locks:,} of the {self.capacity:,} locks of the server; set "
            f"max_locks_per_transaction to at least {advised} in postgresql.conf and "
            "restart the server, or keep fewer days with RETENTION"
        )


def read_lock_use(engine: Engine) -> LockUse | None:
    """Return the locks of a query on the whole history, or None for SQLite.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
    """
    with translate_errors(engine), engine.connect() as connection:
        return find_lock_use(connection)


def find_lock_use(connection: Connection) -> LockUse | None:
    """Return the same as `read_lock_use` for an open connection."""
    if connection.dialect.name != "postgresql":
        return None
    return LockUse(*connection.execute(_USE).one())
