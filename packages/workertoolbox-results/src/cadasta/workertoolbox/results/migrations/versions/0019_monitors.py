"""Create the table in which monitors report how far they have read.

Before deployment. Monitors of earlier releases do not report.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

#: The roles that archive.
ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass('workertoolbox_history')
AND privilege_type = 'INSERT' AND grantee <> relowner
"""


def upgrade() -> None:
    op.create_table(
        "workertoolbox_monitor",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("read_until", sa.DateTime(timezone=True)),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        actions = "SELECT, INSERT, UPDATE, DELETE"
        for role in connection.execute(sa.text(ROLES)).scalars().all():
            op.execute(f"GRANT {actions} ON workertoolbox_monitor TO {role}")


def downgrade() -> None:
    op.drop_table("workertoolbox_monitor")
