"""Queue a task again if its message was published after its end.

Roles that store messages read the start and the end of the run.

The triggers need a column of 0023, which creates them.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

#: For the roles that store messages.
GRANTS = (
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT (started_at, date_done, worker, not_run) ON celery_taskmeta "
        "TO {role}",
    ),
)


def upgrade() -> None:
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    raise NotImplementedError("roles may have had the privilege before")
