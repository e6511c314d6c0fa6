"""Queue a task again if its message was published after its end.

Roles that store messages read the time of the end.

The triggers need a column of 0023, which creates them.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

#: The roles that store messages.
ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass('workertoolbox_task')
AND privilege_type = 'INSERT' AND grantee <> relowner
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for role in connection.execute(sa.text(ROLES)).scalars().all():
            op.execute(f"GRANT SELECT (date_done) ON celery_taskmeta TO {role}")


def downgrade() -> None:
    raise NotImplementedError("roles may have had the privilege before")
