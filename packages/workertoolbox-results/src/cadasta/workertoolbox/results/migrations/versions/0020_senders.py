"""Keep which service has published a task, beat's entry, and the headers of users.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view
from cadasta.workertoolbox.results._database.types import Document

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

#: The roles that read the views, and those of monitors.
ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE grantee <> relowner AND (
    pg_class.oid = to_regclass('workertoolbox_tasks') AND privilege_type = 'SELECT'
    OR pg_class.oid = to_regclass('workertoolbox_task') AND privilege_type = 'INSERT'
)
"""


def upgrade() -> None:
    for table in ("workertoolbox_task", "workertoolbox_history"):
        op.add_column(table, sa.Column("service", sa.Text))
        op.add_column(table, sa.Column("schedule", sa.Text))
        op.add_column(table, sa.Column("headers", Document))
    connection = op.get_bind()
    view.create_views(connection)
    if connection.dialect.name != "postgresql":
        return
    for role in connection.execute(sa.text(ROLES)).scalars().all():
        connection.exec_driver_sql(f"GRANT SELECT ON workertoolbox_live TO {role}")


def downgrade() -> None:
    raise NotImplementedError("the views would lose columns")
