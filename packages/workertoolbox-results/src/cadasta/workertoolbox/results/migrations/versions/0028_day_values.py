"""Create the table of the values that the history has on each day, and its triggers.

0029 inserts the values of tasks that are already in the history.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants
from cadasta.workertoolbox.results._database.view import execute_file

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_READ = "GRANT SELECT ON workertoolbox_day_value TO {role}"

#: For the roles that search for tasks (readers, operators and purgers), and for
#: monitors.
GRANTS = (
    ("workertoolbox_tasks", "SELECT", _READ),
    ("workertoolbox_operation", "INSERT", _READ),
    ("workertoolbox_task", "DELETE", _READ),
    (
        "workertoolbox_planned",
        "INSERT",
        "GRANT SELECT, DELETE ON workertoolbox_day_value TO {role}",
    ),
)


def upgrade() -> None:
    op.create_table(
        "workertoolbox_day_value",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
    )
    extend_grants(op.get_bind(), GRANTS)
    execute_file(op.get_bind(), "day_values")


def downgrade() -> None:
    raise NotImplementedError("searches need the table")
