"""Let only the owner of the tables create triggers with the functions of the toolbox.

These functions run with the owner's privileges. With one of them, any role could put a
trigger on a table of its own, and run other functions with these privileges.

Before deployment.
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

#: The functions of triggers that have the privileges of their owner.
FUNCTIONS = (
    "workertoolbox_result_deleted",
    "workertoolbox_message_stored",
    "workertoolbox_history_added",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for function in FUNCTIONS:
            op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    pass
