"""Create the table in which archivers store how long they keep tasks.

The retention is a setting of the monitors, which the web page cannot read.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

#: A relation, a privilege on it, and a grant for the roles that hold it: those that
#: archive, and readers.
GRANTS = (
    (
        "workertoolbox_history",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON workertoolbox_retention TO {role}",
    ),
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_retention TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_retention",
        sa.Column("keep", sa.Text, primary_key=True),
        sa.Column("days", sa.Integer),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_retention")
