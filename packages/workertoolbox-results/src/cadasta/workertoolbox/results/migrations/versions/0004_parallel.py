"""Let no query that decodes a result be parallel: its function begins subtransactions.

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
    raise NotImplementedError("a parallel query would fail again")
