"""Create the tables of queued and untracked tasks, and grant privileges on them.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)

#: A relation, a privilege on it, and a grant for the roles that hold it, so that
#: readers can still read the view, and monitors can still write.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_task, workertoolbox_planned, "
        "workertoolbox_queued, workertoolbox_untracked, workertoolbox_watermark "
        "TO {role}",
    ),
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE, DELETE "
        "ON workertoolbox_queued, workertoolbox_untracked TO {role}",
    ),
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT, UPDATE ON workertoolbox_watermark TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_queued",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("scheduled_at", instant, nullable=False),
        sa.Column("due_at", instant, nullable=False),
    )
    for column in ("scheduled_at", "due_at"):
        op.create_index(
            f"ix_workertoolbox_queued_{column}", "workertoolbox_queued", [column]
        )
    op.create_table(
        "workertoolbox_untracked",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("date_done", sa.DateTime, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("queue", sa.Text),
        sa.Column("root_id", sa.Text),
        sa.Column("parent_id", sa.Text),
    )
    for name, *columns in (
        ("date_done", "date_done"),
        ("name", "name", "date_done"),
        ("queue", "queue", "date_done"),
        ("root_id", "root_id"),
        ("parent_id", "parent_id"),
    ):
        op.create_index(
            f"ix_workertoolbox_untracked_{name}", "workertoolbox_untracked", columns
        )
    watermark = op.create_table(
        "workertoolbox_watermark",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seen_at", instant, nullable=False),
        sa.Column("date_done", sa.DateTime, nullable=False),
    )
    epoch = sa.text("'1970-01-01 00:00:00.000000'")
    op.execute(watermark.insert().values(id=1, seen_at=epoch, date_done=epoch))
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_watermark")
    op.drop_table("workertoolbox_untracked")
    op.drop_table("workertoolbox_queued")
