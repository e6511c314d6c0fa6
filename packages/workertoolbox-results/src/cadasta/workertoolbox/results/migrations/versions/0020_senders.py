"""Store the service that published a task, beat's entry, and the headers of users.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.types import Document

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("workertoolbox_task", "workertoolbox_history"):
        op.add_column(table, sa.Column("service", sa.Text))
        op.add_column(table, sa.Column("schedule", sa.Text))
        op.add_column(table, sa.Column("headers", Document))


def downgrade() -> None:
    for table in ("workertoolbox_task", "workertoolbox_history"):
        for name in ("service", "schedule", "headers"):
            op.drop_column(table, name)
