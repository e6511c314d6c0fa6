"""Create the table of planned steps, and add them to the view.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: The result is joined only for the types of its columns. Its values are all NULL.
PLANNED = """
UNION ALL
SELECT
    p.id, p.name, 'PLANNED', NULL, NULL, NULL, p.root_id, p.parent_id, r.group_id,
    r.retries, NULL, NULL, r.started_at, NULL, r.worker, NULL, r.traceback, {true}
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
"""


def upgrade() -> None:
    op.create_table(
        "workertoolbox_planned",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("root_id", sa.Text),
        sa.Column("parent_id", sa.Text),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index(
        "ix_workertoolbox_planned_root_id", "workertoolbox_planned", ["root_id"]
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        # Replaced instead of dropped, so that roles keep their privileges.
        query = "SELECT pg_get_viewdef('workertoolbox_tasks'::regclass)"
        shown = connection.exec_driver_sql(query).scalar_one().rstrip(";")
        connection.exec_driver_sql(
            "CREATE OR REPLACE VIEW workertoolbox_tasks AS "
            f"{shown}{PLANNED.format(true='true')}"
        )
    else:
        query = "SELECT sql FROM sqlite_master WHERE name = 'workertoolbox_tasks'"
        create = connection.exec_driver_sql(query).scalar_one()
        op.execute("DROP VIEW workertoolbox_tasks")
        connection.exec_driver_sql(f"{create}{PLANNED.format(true='1')}")


def downgrade() -> None:
    raise NotImplementedError("the planned steps cannot be removed from the view")
