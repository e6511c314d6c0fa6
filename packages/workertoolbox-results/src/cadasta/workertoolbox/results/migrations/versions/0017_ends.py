"""Add the time limit of a task, and the header of a chord's body.

With them, the archiver finds tasks that can no longer run, and stores their end. Roles
that archive get the privileges for that.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
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
    op.add_column("workertoolbox_task", sa.Column("time_limit_s", sa.Float))
    op.add_column("workertoolbox_planned", sa.Column("header_id", sa.Text))
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for role in connection.execute(sa.text(ROLES)).scalars().all():
            op.execute(f"GRANT SELECT, UPDATE ON celery_taskmeta TO {role}")


def downgrade() -> None:
    op.drop_column("workertoolbox_planned", "header_id")
    op.drop_column("workertoolbox_task", "time_limit_s")
