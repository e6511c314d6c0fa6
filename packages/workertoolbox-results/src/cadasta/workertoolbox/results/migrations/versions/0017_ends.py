"""Add the time limit of a task, and the header of a chord's body.

With them, the archiver finds tasks that can no longer run, and stores their end. Roles
that archive get the privileges for that.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

#: For the roles that archive.
GRANTS = (
    (
        "workertoolbox_history",
        "INSERT",
        "GRANT SELECT, UPDATE ON celery_taskmeta TO {role}",
    ),
)


def upgrade() -> None:
    op.add_column("workertoolbox_task", sa.Column("time_limit_s", sa.Float))
    op.add_column("workertoolbox_planned", sa.Column("header_id", sa.Text))
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_column("workertoolbox_planned", "header_id")
    op.drop_column("workertoolbox_task", "time_limit_s")
