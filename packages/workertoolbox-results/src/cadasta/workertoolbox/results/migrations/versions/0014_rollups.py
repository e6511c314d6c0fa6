"""Create the tables of figures about ended tasks and about the backlog.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: A relation, a privilege on it, and a grant for the roles that hold it.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_rollup, workertoolbox_backlog TO {role}",
    ),
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE, DELETE "
        "ON workertoolbox_rollup, workertoolbox_backlog TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_rollup",
        sa.Column("tier", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, primary_key=True),
        sa.Column("error_group", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("retries", sa.BigInteger, nullable=False),
        sa.Column("redeliveries", sa.BigInteger, nullable=False),
        sa.Column("waits", sa.Text, nullable=False),
        sa.Column("runs", sa.Text, nullable=False),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "ix_workertoolbox_rollup_name", "workertoolbox_rollup", ["name", "tier", "at"]
    )
    has_group = sa.text("error_group <> ''")
    op.create_index(
        "ix_workertoolbox_rollup_error_group",
        "workertoolbox_rollup",
        ["error_group", "tier", "at"],
        postgresql_where=has_group,
        sqlite_where=has_group,
    )
    op.create_table(
        "workertoolbox_backlog",
        sa.Column("tier", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sa.Column("queued_sum", sa.BigInteger, nullable=False),
        sa.Column("queued_max", sa.BigInteger, nullable=False),
        sa.Column("scheduled_sum", sa.BigInteger, nullable=False),
        sa.Column("scheduled_max", sa.BigInteger, nullable=False),
        sa.Column("oldest_max_s", sa.Float, nullable=False),
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_backlog")
    op.drop_table("workertoolbox_rollup")
