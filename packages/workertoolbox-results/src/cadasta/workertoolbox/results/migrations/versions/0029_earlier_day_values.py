"""Insert the values of tasks that are in the history already, by day.

Each value is found by one lookup in an index, so that a long history is not read. Only
for untracked tasks there is no index: each day is assumed to have some.

Before deployment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

#: The tables of days, with their days; the quotes of names are part of them.
TABLES = """
SELECT days.inhrelid::regclass::text, to_date(right(relname, 8), 'YYYYMMDD')
FROM pg_inherits classes
JOIN pg_inherits days ON days.inhparent = classes.inhrelid
JOIN pg_class ON pg_class.oid = days.inhrelid
WHERE classes.inhparent = to_regclass('workertoolbox_history')
"""

#: Columns with an index, and the condition of a partial one.
COLUMNS = {
    "name": "true",
    "queue": "true",
    "worker": "true",
    "error_group": "true",
    "status": "status <> 'SUCCESS'",
}

VALUES = """
WITH RECURSIVE found (value) AS (
    SELECT min({column}) FROM {table} WHERE {condition}
    UNION ALL
    SELECT (
        SELECT min({column}) FROM {table} WHERE {column} > found.value AND {condition}
    )
    FROM found WHERE found.value IS NOT NULL
)
SELECT '{column}', value FROM found WHERE value IS NOT NULL
"""

OTHERS = """
SELECT kind, value
FROM (VALUES ('status', 'SUCCESS'), ('tracked', 'false')) AS others (kind, value)
WHERE EXISTS (SELECT FROM {table})
"""

INSERT = sa.text(
    "INSERT INTO workertoolbox_day_value (kind, value, day) "
    "VALUES (:kind, :value, :day) ON CONFLICT DO NOTHING"
)

SQLITE = """
INSERT OR IGNORE INTO workertoolbox_day_value (kind, value, day)
SELECT DISTINCT '{column}', {column}, day FROM workertoolbox_history
WHERE {column} IS NOT NULL
"""

UNTRACKED_SQLITE = """
INSERT OR IGNORE INTO workertoolbox_day_value (kind, value, day)
SELECT DISTINCT 'tracked', 'false', day FROM workertoolbox_history WHERE NOT tracked
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for column in COLUMNS:
            connection.exec_driver_sql(SQLITE.format(column=column))
        connection.exec_driver_sql(UNTRACKED_SQLITE)
        return
    for table, day in connection.execute(sa.text(TABLES)).all():
        # Locks on all tables and their indexes could fill the lock table of the server.
        with connection.begin_nested() as savepoint:
            found = [*_read_values(connection, table)]
            savepoint.rollback()
        if found:
            rows = [{"kind": kind, "value": value, "day": day} for kind, value in found]
            connection.execute(INSERT, rows)


def _read_values(connection: sa.Connection, table: str) -> Iterator[Any]:
    for column, condition in COLUMNS.items():
        values = {"table": table, "column": column, "condition": condition}
        yield from connection.exec_driver_sql(VALUES.format(**values))
    yield from connection.exec_driver_sql(OTHERS.format(table=table))


def downgrade() -> None:
    pass
