"""Insert the values of tasks that are in the history already, by day.

Each value is found by one lookup in an index, so that a long history is not read. Only
for untracked tasks there is no index: each day is assumed to have some.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.earlier_values import (
    insert_earlier_values,
)

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

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
    SELECT min({column}) FROM {{table}} WHERE {condition}
    UNION ALL
    SELECT (
        SELECT min({column}) FROM {{table}} WHERE {column} > found.value AND {condition}
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
    queries = [
        VALUES.format(column=column, condition=condition)
        for column, condition in COLUMNS.items()
    ]
    insert_earlier_values(connection, [*queries, OTHERS])


def downgrade() -> None:
    pass
