"""Create the tables of chords.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_chord",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("header", sa.LargeBinary),
        sa.Column("size", sa.Integer),
        sa.Column("added", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("starters", sa.Integer, nullable=False),
        sa.Column("started_at", instant),
        sa.Column("touched_at", instant, nullable=False),
    )
    op.create_table(
        "workertoolbox_chord_part",
        sa.Column("chord_id", sa.Text, primary_key=True),
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("result", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("workertoolbox_chord_part")
    op.drop_table("workertoolbox_chord")
