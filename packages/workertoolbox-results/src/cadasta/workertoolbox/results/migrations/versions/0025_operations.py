"""Keep what a rerun needs: how arguments are stored, options, and operations.

Rows of earlier releases do not say how their arguments are stored.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view
from cadasta.workertoolbox.results._database.grants import extend_grants
from cadasta.workertoolbox.results._database.types import Document

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)

#: For the roles that read the views, for monitors, and for purgers.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_live, workertoolbox_operation, "
        "workertoolbox_operation_task TO {role}",
    ),
    ("workertoolbox_task", "INSERT", "GRANT SELECT ON workertoolbox_live TO {role}"),
    (
        "workertoolbox_task",
        "DELETE",
        "GRANT SELECT, UPDATE (id), DELETE ON workertoolbox_operation TO {role}; "
        "GRANT SELECT, DELETE ON workertoolbox_operation_task TO {role}",
    ),
)


def upgrade() -> None:
    connection = op.get_bind()
    for table in ("workertoolbox_task", "workertoolbox_history"):
        op.add_column(table, sa.Column("rerun_of", sa.Text))
        op.add_column(table, sa.Column("arguments", sa.Text))
        op.add_column(table, sa.Column("options", Document))
        op.add_column(table, sa.Column("digest", sa.Text))
    op.create_table(
        "workertoolbox_operation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("selection", sa.Text, nullable=False),
        sa.Column("tasks", sa.Integer, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("finished_at", instant),
    )
    op.create_index(
        "ix_workertoolbox_operation_started_at",
        "workertoolbox_operation",
        ["started_at"],
    )
    op.create_table(
        "workertoolbox_operation_task",
        sa.Column("operation_id", sa.Text, primary_key=True),
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("new_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("changed_at", instant, nullable=False),
    )
    op.create_index(
        "ix_workertoolbox_operation_task_task_id",
        "workertoolbox_operation_task",
        ["task_id"],
    )
    view.create_views(connection)
    extend_grants(connection, GRANTS)


def downgrade() -> None:
    raise NotImplementedError("the views would lose columns")
