"""Search the history by windows of days, so that a search locks few tables.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database import view

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        view.execute_file(connection, "history")


def downgrade() -> None:
    raise NotImplementedError("the functions of the history belong to the newest code")
