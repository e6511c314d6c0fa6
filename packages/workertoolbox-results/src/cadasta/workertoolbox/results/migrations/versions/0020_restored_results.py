"""Keep the size of a result of which only the beginning was restored from the history.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    columns = sa.inspect(connection).get_columns("celery_taskmeta")
    if not any(column["name"] == "result_bytes" for column in columns):
        op.add_column("celery_taskmeta", sa.Column("result_bytes", sa.Integer))
    view.create_views(connection)
    view.execute_file(connection, "history")


def downgrade() -> None:
    raise NotImplementedError("the views would lose a column")
