"""Let workers read which tasks are live, so that `backend_cleanup` keeps their states.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

#: For workers.
GRANTS = (
    (
        "celery_tasksetmeta",
        "INSERT",
        "GRANT SELECT (id) ON workertoolbox_task TO {role}",
    ),
)


def upgrade() -> None:
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    pass
