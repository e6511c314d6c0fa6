"""Queue a task again if its message was published after its end.

Roles that store messages read the time of the end.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.view import execute_file

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TRIGGERS = (
    "workertoolbox_result_changed",
    "workertoolbox_result_deleted",
    "workertoolbox_message_stored",
)

#: The roles that store messages.
ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass('workertoolbox_task')
AND privilege_type = 'INSERT' AND grantee <> relowner
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for name in TRIGGERS:
            op.execute(f"DROP TRIGGER IF EXISTS {name}")
    execute_file(connection, "history")
    if connection.dialect.name == "postgresql":
        for role in connection.execute(sa.text(ROLES)).scalars().all():
            op.execute(f"GRANT SELECT (date_done) ON celery_taskmeta TO {role}")


def downgrade() -> None:
    raise NotImplementedError("the triggers of 0012 are those of this revision")
