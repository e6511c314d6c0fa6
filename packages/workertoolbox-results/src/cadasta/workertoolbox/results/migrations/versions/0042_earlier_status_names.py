"""Insert the statuses and names of tasks that are in the history already, by day.

Only of tasks that did not succeed: an index has them.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.earlier_values import (
    insert_earlier_values,
)

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

PAIRS = """
SELECT DISTINCT 'status_name', status || ' ' || name FROM {table}
WHERE status <> 'SUCCESS' AND name IS NOT NULL
"""

SQLITE = """
INSERT OR IGNORE INTO workertoolbox_day_value (kind, value, day)
SELECT DISTINCT 'status_name', status || ' ' || name, day FROM workertoolbox_history
WHERE status <> 'SUCCESS' AND name IS NOT NULL
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(SQLITE)
    else:
        insert_earlier_values(connection, [PAIRS])


def downgrade() -> None:
    pass
