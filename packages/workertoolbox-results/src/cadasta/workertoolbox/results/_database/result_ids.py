"""Numbers of the rows in Celery's tables: how many are used, and room for more.

The column `id` of these tables takes its numbers from a sequence. Celery creates it
with four bytes, which are enough for two thousand million rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from cadasta.workertoolbox.results._database.engine import translate_errors

#: Size in bytes, with indexes, up to which a migration rewrites a table. Workers wait
#: meanwhile: about a tenth of a second, and less than half a second on a busy server.
SMALL_BYTES = 4 * 2**20

#: The largest number in a column, by type.
_MAXIMA = {"integer": 2**31 - 1, "bigint": 2**63 - 1}

_TABLES = {
    "celery_taskmeta": "task_id_sequence",
    "celery_tasksetmeta": "taskset_id_sequence",
}

_COLUMN = text(
    "SELECT format_type(atttypid, NULL) AS type,"
    " pg_total_relation_size(attrelid) AS size,"
    " pg_has_role(relowner, 'USAGE') AS is_owner"
    " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " WHERE attrelid = to_regclass(:table) AND attname = 'id'"
)

# A role without privileges on the sequence sees NULL.
_LAST_VALUE = text(
    "SELECT last_value FROM pg_sequences"
    " WHERE to_regclass(quote_ident(schemaname) || '.' || quote_ident(sequencename))"
    " = to_regclass(:sequence)"
)


class ResultIds(NamedTuple):
    """The numbers of the rows in one of Celery's tables.

    Attributes:
        used: The largest number that was given to a row.
        maximum: The largest number that the column can hold.
    """

    table: str
    used: int
    maximum: int


def read_result_ids(engine: Engine) -> list[ResultIds]:
    """Return the numbers of each table; SQLite has enough of them.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or the role may neither
            use the sequences nor read the tables.
    """
    if engine.dialect.name != "postgresql":
        return []
    with translate_errors(engine), engine.connect() as connection:
        return list(_read(connection))


def _read(connection: Connection) -> Iterator[ResultIds]:
    for table, sequence in _TABLES.items():
        column = connection.execute(_COLUMN, {"table": table}).one_or_none()
        if column is None:
            continue
        used = connection.scalar(_LAST_VALUE, {"sequence": sequence})
        if used is None:
            used = connection.scalar(text(f"SELECT max(id) FROM {table}"))
        yield ResultIds(table, used or 0, _MAXIMA.get(column.type, 2**63 - 1))


def widen_result_ids(
    connection: Connection, *, max_bytes: int | None = None
) -> list[str]:
    """Change the columns to eight bytes, which rewrites the tables.

    Nobody can read or write a table meanwhile.

    Args:
        connection: A connection to PostgreSQL in a transaction.
        max_bytes: Maximum size of a table, with indexes; None for any size.

    Returns:
        Names of the tables that were changed. Others have eight bytes already, are
        larger, or belong to another role.
    """
    changed = []
    for table in _TABLES:
        column = connection.execute(_COLUMN, {"table": table}).one_or_none()
        if column is None or column.type != "integer" or not column.is_owner:
            continue
        if max_bytes is None or column.size <= max_bytes:
            statement = f"ALTER TABLE {table} ALTER COLUMN id TYPE bigint"
            connection.exec_driver_sql(statement)
            changed.append(table)
    return changed
