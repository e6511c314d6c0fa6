"""The database server, the role of the connection, and the space that tables take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, text

from cadasta.workertoolbox.results._database.tables import history, metadata
from cadasta.workertoolbox.results._history.days import (
    DaySize,
    estimated_rows,
    read_day_sizes,
)
from cadasta.workertoolbox.results._json_record import JsonRecord


@dataclass(frozen=True, slots=True)
class TableSize(JsonRecord):
    """The space that a table takes, with its indexes.

    Attributes:
        name: Name of the table.
        bytes: Its size.
        rows: Estimated number of rows; None if nothing has estimated it.
    """

    name: str
    bytes: int
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage(JsonRecord):
    """The database server, the role, and the space that tables take.

    Attributes:
        dialect: `postgresql` or `sqlite`.
        server_version: Version of the server, such as `15.4`.
        role: The role of the connection; None on SQLite, which has no roles.
        can_write: Whether the role may change a table; None on SQLite.
        is_replica: Whether the server is a replica, which cannot be written to.
        bytes: Size of all tables with their indexes; on SQLite, of the file.
        tables: The tables, the largest first; empty on SQLite, which does not know
            their sizes. The history is one of them.
        days: The days of the history, newest first; likewise.
    """

    dialect: str
    server_version: str
    role: str | None
    can_write: bool | None
    is_replica: bool
    bytes: int
    tables: Sequence[TableSize]
    days: Sequence[DaySize]


#: A partitioned table has no size of its own. A table that was never analyzed has -1
#: rows.
_TABLES = text(
    "SELECT name, pg_total_relation_size(pg_class.oid), reltuples"
    " FROM unnest(CAST(:names AS text[])) AS name"
    " JOIN pg_class ON pg_class.oid = to_regclass(name)"
)
_ROLE = text(
    "SELECT current_user AS role, current_setting('server_version') AS server_version,"
    " pg_is_in_recovery() AS is_replica,"
    " current_setting('transaction_read_only') = 'on' AS is_read_only,"
    " (SELECT bool_or(has_table_privilege(name, 'INSERT, UPDATE, DELETE'))"
    " FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL)"
    " AS may_write"
)


def read_storage(connection: Connection, today: date) -> Storage:
    """Return the server, the role, and the sizes of tables."""
    if connection.dialect.name == "sqlite":
        return _read_sqlite(connection)
    names = {"names": sorted(metadata.tables)}
    role = connection.execute(_ROLE, names).one()
    days = read_day_sizes(connection)
    tables = [
        TableSize(name, size, estimated_rows(rows))
        for name, size, rows in connection.execute(_TABLES, names)
        if name != history.name
    ]
    counts = [each.rows for each in days if each.rows is not None]
    size = sum(each.bytes for each in days)
    tables.append(TableSize(history.name, size, sum(counts) if counts else None))
    return Storage(
        dialect="postgresql",
        server_version=role.server_version,
        role=role.role,
        can_write=role.may_write and not role.is_replica and not role.is_read_only,
        is_replica=role.is_replica,
        bytes=sum(each.bytes for each in tables),
        tables=sorted(tables, key=lambda each: (-each.bytes, each.name)),
        # Tables for the days ahead exist, and are empty.
        days=sorted(
            (each for each in days if each.day <= today),
            key=lambda each: (each.day, each.keep),
            reverse=True,
        ),
    )


def _read_sqlite(connection: Connection) -> Storage:
    def pragma(name: str) -> Any:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
    return Storage(
        dialect="sqlite",
        server_version=version,
        role=None,
        can_write=None,
        is_replica=False,
        bytes=pragma("page_count") * pragma("page_size"),
        tables=(),
        days=(),
    )
