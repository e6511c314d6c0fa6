"""Let the triggers store by day which tasks have failed, by status and name.

0042 inserts the statuses and names of tasks that are already in the history.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.view import execute_file

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file(op.get_bind(), "day_values")


def downgrade() -> None:
    pass
