"""Create the table of groups of errors.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)

#: A relation, a privilege on it, and a grant for the roles that hold it: readers,
#: monitors and purgers.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_error_group TO {role}",
    ),
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE ON workertoolbox_error_group TO {role}",
    ),
    (
        "workertoolbox_task",
        "DELETE",
        "GRANT SELECT, UPDATE ON workertoolbox_error_group TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_error_group",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("type", "place", "name", "sample")),
        *(sa.Column(name, sa.Text) for name in ("first_task_id", "last_task_id")),
        *(sa.Column(name, instant, nullable=False) for name in ("first_at", "last_at")),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("retries", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("resolved_at", instant),
    )
    op.create_index(
        "ix_workertoolbox_error_group_last_at", "workertoolbox_error_group", ["last_at"]
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_error_group")
