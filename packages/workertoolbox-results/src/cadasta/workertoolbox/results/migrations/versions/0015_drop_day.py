"""Let roles that delete from the history drop whole days of it.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

#: The roles that delete from the history, and whether they also insert into it.
ROLES = """
SELECT
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
    bool_or(privilege_type = 'INSERT')
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass('workertoolbox_history') AND grantee <> relowner
GROUP BY grantee HAVING bool_or(privilege_type = 'DELETE')
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for role, inserts in connection.execute(sa.text(ROLES)).all():
        op.execute(f"GRANT EXECUTE ON FUNCTION workertoolbox_drop_day TO {role}")
        if not inserts:
            # A purger locks rows, for which PostgreSQL requires this privilege.
            op.execute(f"GRANT UPDATE (id) ON workertoolbox_history TO {role}")


def downgrade() -> None:
    raise NotImplementedError("roles may have had the privileges before")
