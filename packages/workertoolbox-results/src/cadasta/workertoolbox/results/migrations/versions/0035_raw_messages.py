"""Let readers see the messages in quarantine, whose secrets are masked.

The web page shows them. Readers can read arguments of tasks, which are masked likewise.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_quarantine TO {role}",
    ),
)


def upgrade() -> None:
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    raise NotImplementedError("roles may have had the privileges before")
