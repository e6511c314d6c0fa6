"""Exclude queries that decode results from parallel execution.

The function that decodes them starts subtransactions, which fail in a parallel worker.

Before deployment.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER FUNCTION workertoolbox_json(bytea) PARALLEL UNSAFE")


def downgrade() -> None:
    raise NotImplementedError("parallel queries would fail again")
