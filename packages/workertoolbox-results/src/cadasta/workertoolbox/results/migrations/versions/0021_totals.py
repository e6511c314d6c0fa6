"""Keep how long tasks took from their publication to their end, in the rollups.

Before deployment. An earlier release leaves the column as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "workertoolbox_rollup",
        sa.Column("totals", sa.Text, nullable=False, server_default=""),
    )


def downgrade() -> None:
    op.drop_column("workertoolbox_rollup", "totals")
