"""Create the table of the entries of beat's schedule.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants
from cadasta.workertoolbox.results._database.types import Document

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)

#: A relation, a privilege on it, and a grant for the roles that hold it: readers,
#: monitors, purgers and replayers.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_schedule, workertoolbox_monitor TO {role}",
    ),
    (
        "workertoolbox_planned",
        "INSERT",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON workertoolbox_schedule TO {role}",
    ),
    (
        "workertoolbox_task",
        "DELETE",
        "GRANT SELECT, DELETE ON workertoolbox_schedule TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_schedule",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("service", "entry")),
        *(sa.Column(name, sa.Text) for name in ("name", "schedule", "timezone")),
        sa.Column("next_at", instant),
        sa.Column("max_interval_s", sa.Float),
        sa.Column("described_at", instant),
        sa.Column("task_id", sa.Text),
        *(sa.Column(name, instant) for name in ("due_at", "sent_at")),
        sa.Column("late_s", sa.Float),
        sa.Column("origin", sa.Text),
        sa.Column("started_at", instant),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("count", "missed", "doubled")
        ),
        *(sa.Column(name, instant) for name in ("missed_at", "doubled_at")),
        sa.Column("first_at", instant, nullable=False),
        sa.Column("listed_at", instant),
        sa.Column("runs", Document, nullable=False),
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_table("workertoolbox_schedule")
