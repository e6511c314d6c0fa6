"""Distinguish runs under one id, and keep the reason why a step was not run.

Before deployment.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)

COLUMNS: dict[str, dict[str, Any]] = {
    "celery_taskmeta": {
        "published_at": instant,
        "waited_s": sa.Float,
        "not_run": sa.Text,
    },
    "workertoolbox_task": {"published_at": instant},
    "workertoolbox_planned": {"group_id": sa.Text},
    "workertoolbox_untracked": {"group_id": sa.Text},
}

#: A relation, a privilege on it, and a grant for the roles that hold it.
GRANTS = (
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT (task_id, status, date_done, name, queue, retries, root_id, "
        "parent_id, group_id, published_at, not_run), INSERT ON celery_taskmeta "
        "TO {role}; GRANT USAGE ON SEQUENCE task_id_sequence TO {role}",
    ),
    (
        "workertoolbox_task",
        "DELETE",
        "GRANT SELECT ON workertoolbox_watermark TO {role}",
    ),
)

ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass(:relation)
AND privilege_type = :privilege AND grantee <> relowner
"""


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
    if op.get_bind().dialect.name == "postgresql":
        extend_grants()


def extend_grants() -> None:
    """Grant privileges on what is new to roles that have them on what it belongs to."""
    connection = op.get_bind()
    for relation, privilege, grant in GRANTS:
        parameters = {"relation": relation, "privilege": privilege}
        for role in connection.execute(sa.text(ROLES), parameters).scalars().all():
            connection.exec_driver_sql(grant.format(role=role))


def downgrade() -> None:
    raise NotImplementedError("runs under one id would be mixed")
