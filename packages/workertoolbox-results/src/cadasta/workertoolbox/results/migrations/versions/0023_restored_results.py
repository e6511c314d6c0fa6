"""Keep the size of a long result whose beginning was restored from the history.

The functions search the history by windows of days, so that a search locks few tables.
The triggers queue tasks again as 0022 says. 0025 creates the views.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    columns = sa.inspect(connection).get_columns("celery_taskmeta")
    if not any(column["name"] == "result_bytes" for column in columns):
        op.add_column("celery_taskmeta", sa.Column("result_bytes", sa.Integer))
    view.execute_file(connection, "history")


def downgrade() -> None:
    raise NotImplementedError("the triggers would be lost")
