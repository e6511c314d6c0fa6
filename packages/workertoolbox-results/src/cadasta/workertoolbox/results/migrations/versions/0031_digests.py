"""Keep a digest of the arguments that are stored whole, where 0025 has not added it.

Monitors of an earlier release replace arguments, but not the mark that they are whole.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for table in ("workertoolbox_task", "workertoolbox_history"):
        columns = sa.inspect(connection).get_columns(table)
        if not any(column["name"] == "digest" for column in columns):
            op.add_column(table, sa.Column("digest", sa.Text))
    view.create_views(connection)


def downgrade() -> None:
    raise NotImplementedError("the views would lose a column")
