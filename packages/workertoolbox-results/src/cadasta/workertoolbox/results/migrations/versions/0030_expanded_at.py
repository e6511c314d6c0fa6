"""Store when the history was added to the tables of an earlier release.

Monitors of that release list queued tasks; monitors of this one do not. The instant
says which messages only the former can have stored.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

TABLE = "workertoolbox_watermark"


def upgrade() -> None:
    connection = op.get_bind()
    if not sa.inspect(connection).has_table(TABLE):
        return  # A contracted database.
    column = sa.Column("expanded_at", sa.DateTime(timezone=True))
    op.add_column(TABLE, column)
    is_sqlite = connection.dialect.name == "sqlite"
    now = "strftime('%Y-%m-%d %H:%M:%f000', 'now')" if is_sqlite else "now()"
    op.execute(f"UPDATE {TABLE} SET expanded_at = {now}")


def downgrade() -> None:
    op.drop_column(TABLE, "expanded_at")
