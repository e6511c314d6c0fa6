"""Create indexes of ended tasks that are untracked, and of those that ran for long.

A search for either reads only such tasks, and not all of a day. SQLite has no index of
long runs, because it stores times as text.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

IS_LONG = (
    "CASE WHEN isfinite(started_at) AND isfinite(finished_at) "
    "THEN finished_at - started_at END >= interval '10 s'"
)


def upgrade() -> None:
    op.create_index(
        "ix_workertoolbox_history_untracked",
        "workertoolbox_history",
        ["listed_at"],
        postgresql_where=sa.text("NOT tracked"),
        sqlite_where=sa.text("NOT tracked"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(
            "ix_workertoolbox_history_long",
            "workertoolbox_history",
            [sa.text("listed_at DESC NULLS LAST")],
            postgresql_where=sa.text(IS_LONG),
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_workertoolbox_history_long")
    op.drop_index("ix_workertoolbox_history_untracked")
