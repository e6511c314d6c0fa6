"""Distinguish runs under one id, and keep the reason why a step was not run.

Before deployment.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

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


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    raise NotImplementedError("runs under one id would be mixed")
