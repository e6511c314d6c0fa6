"""Values of tasks that were in the history before its triggers stored them by day."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

#: The tables of days, with their days; the quotes of names are part of them.
_TABLES = text("""
SELECT days.inhrelid::regclass::text, to_date(right(relname, 8), 'YYYYMMDD')
FROM pg_inherits classes
JOIN pg_inherits days ON days.inhparent = classes.inhrelid
JOIN pg_class ON pg_class.oid = days.inhrelid
WHERE classes.inhparent = to_regclass('workertoolbox_history')
""")

_INSERT = text(
    "INSERT INTO workertoolbox_day_value (kind, value, day) "
    "VALUES (:kind, :value, :day) ON CONFLICT DO NOTHING"
)


def insert_earlier_values(connection: Connection, queries: Iterable[str]) -> None:
    """Insert the kinds and values that queries return, for each day of PostgreSQL.

    Args:
        queries: Return the kind and the value of tasks in `{table}`.
    """
    wanted = [*queries]
    for table, day in connection.execute(_TABLES).all():
        # Locks on all tables and their indexes could fill the lock table of the server.
        with connection.begin_nested() as savepoint:
            found = [
                {"kind": kind, "value": value, "day": day}
                for query in wanted
                for kind, value in connection.exec_driver_sql(query.format(table=table))
            ]
            savepoint.rollback()
        if found:
            connection.execute(_INSERT, found)
