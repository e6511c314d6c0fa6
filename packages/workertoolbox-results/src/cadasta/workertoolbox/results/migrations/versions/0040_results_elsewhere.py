"""Store whether the sender of a task stores results elsewhere.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workertoolbox_task", sa.Column("results_elsewhere", sa.Text))


def downgrade() -> None:
    op.drop_column("workertoolbox_task", "results_elsewhere")
