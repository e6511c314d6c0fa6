"""Create the index on the arguments and headers of ended tasks.

A search for an argument finds a task among millions by it. SQLite has no such index.

Before deployment.
"""

from __future__ import annotations

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

COLUMNS = ("args", "kwargs", "headers")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "ix_workertoolbox_history_json",
            "workertoolbox_history",
            COLUMNS,
            postgresql_using="gin",
            postgresql_ops=dict.fromkeys(COLUMNS, "jsonb_path_ops"),
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_workertoolbox_history_json")
