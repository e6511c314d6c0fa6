"""Create the index on the arguments and headers of ended tasks.

A search for an argument finds a task among millions by it. SQLite has no such index.
Tasks with many values are left out of it, and have an index of their own.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

COLUMNS = ("args", "kwargs", "headers")


def upgrade() -> None:
    op.add_column("workertoolbox_history", sa.Column("large", sa.Boolean))
    op.create_index(
        "ix_workertoolbox_history_large",
        "workertoolbox_history",
        ["listed_at"],
        postgresql_where=sa.text("large"),
        sqlite_where=sa.text("large"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "ix_workertoolbox_history_json",
            "workertoolbox_history",
            COLUMNS,
            postgresql_using="gin",
            postgresql_ops=dict.fromkeys(COLUMNS, "jsonb_path_ops"),
            postgresql_where=sa.text("large IS NULL"),
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_workertoolbox_history_json")
    op.drop_index("ix_workertoolbox_history_large")
    op.drop_column("workertoolbox_history", "large")
