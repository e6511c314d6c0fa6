"""Create the view of live tasks with a message, and let the roles that search read it.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants
from cadasta.workertoolbox.results._database.view import create_views

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_READ = "GRANT SELECT ON workertoolbox_tracked TO {role}"

#: For readers and operators.
GRANTS = (
    ("workertoolbox_tasks", "SELECT", _READ),
    ("workertoolbox_operation", "INSERT", _READ),
)


def upgrade() -> None:
    create_views(op.get_bind())
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    raise NotImplementedError("searches need the view")
