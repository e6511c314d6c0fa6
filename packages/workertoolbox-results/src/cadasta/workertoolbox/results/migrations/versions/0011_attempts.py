"""Keep what became of each attempt of a task.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.types import Document

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: The roles that may read the view.
READERS = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass('workertoolbox_tasks')
AND privilege_type = 'SELECT' AND grantee <> relowner
"""


def upgrade() -> None:
    op.add_column("celery_taskmeta", sa.Column("attempts", Document))
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for role in connection.execute(sa.text(READERS)).scalars().all():
        connection.exec_driver_sql(f"GRANT SELECT ON workertoolbox_attempt TO {role}")


def downgrade() -> None:
    op.drop_column("celery_taskmeta", "attempts")
