"""Let readers see which tasks a chord lacks, and which messages are in quarantine.

`TaskStore.why` reads them. Bodies of messages and results of tasks are left out.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT (id, size, added) ON workertoolbox_chord TO {role}; "
        "GRANT SELECT (chord_id, task_id) ON workertoolbox_chord_part TO {role}; "
        "GRANT SELECT (id, reason, headers, seen_at) ON workertoolbox_quarantine "
        "TO {role}",
    ),
)


def upgrade() -> None:
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    raise NotImplementedError("roles may have had the privileges before")
