"""Create the table in which monitors report how far they have read.

Before deployment. Monitors of earlier releases do not report.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

#: For the roles that archive.
GRANTS = (
    (
        "workertoolbox_history",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON workertoolbox_monitor TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_monitor",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("read_until", sa.DateTime(timezone=True)),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_monitor")
