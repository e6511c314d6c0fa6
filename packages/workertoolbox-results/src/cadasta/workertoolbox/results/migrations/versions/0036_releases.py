"""Create the table of the versions of services.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

#: For readers, monitors and workers.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_release TO {role}",
    ),
    (
        "workertoolbox_rollup",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE ON workertoolbox_release TO {role}",
    ),
    (
        "celery_tasksetmeta",
        "INSERT",
        "GRANT INSERT ON workertoolbox_release TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_release",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_release")
