"""Keep what became of each attempt of a task.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants
from cadasta.workertoolbox.results._database.types import Document

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_attempt TO {role}",
    ),
)


def upgrade() -> None:
    op.add_column("celery_taskmeta", sa.Column("attempts", Document))
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_column("celery_taskmeta", "attempts")
