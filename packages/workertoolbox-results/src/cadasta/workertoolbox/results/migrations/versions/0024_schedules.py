"""Create the table of the entries of beat's schedule.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

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

ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass(:relation)
AND privilege_type = :privilege AND grantee <> relowner
"""


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
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for relation, privilege, grant in GRANTS:
        parameters = {"relation": relation, "privilege": privilege}
        for role in connection.execute(sa.text(ROLES), parameters).scalars().all():
            connection.exec_driver_sql(grant.format(role=role))


def downgrade() -> None:
    op.drop_table("workertoolbox_schedule")
