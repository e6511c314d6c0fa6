"""Let purgers write to the journal of operations, and find the changes of errors there.

They change the states of groups of errors.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

#: For purgers.
GRANTS = (
    (
        "workertoolbox_operation",
        "DELETE",
        "GRANT INSERT ON workertoolbox_operation TO {role}",
    ),
)


def upgrade() -> None:
    changes = sa.text("kind IN ('resolve', 'ignore', 'reopen')")
    op.create_index(
        "ix_workertoolbox_operation_error_group",
        "workertoolbox_operation",
        ["selection", "started_at"],
        postgresql_where=changes,
        sqlite_where=changes,
    )
    extend_grants(op.get_bind(), GRANTS)


def downgrade() -> None:
    op.drop_index("ix_workertoolbox_operation_error_group")
