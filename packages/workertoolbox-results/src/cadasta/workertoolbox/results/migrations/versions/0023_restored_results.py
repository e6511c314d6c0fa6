"""Keep the size of a long result whose beginning was restored from the history.

The views have that size and the columns of 0020, and show an ended task without the
time and the sender of a later message. The functions search the history by windows of
days, so that a search locks few tables. The triggers queue tasks again as 0022 says.

Before deployment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view
from cadasta.workertoolbox.results._database.grants import extend_grants

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

#: For the roles that read the views, and for those of monitors.
GRANTS = (
    ("workertoolbox_tasks", "SELECT", "GRANT SELECT ON workertoolbox_live TO {role}"),
    ("workertoolbox_task", "INSERT", "GRANT SELECT ON workertoolbox_live TO {role}"),
)


def upgrade() -> None:
    connection = op.get_bind()
    columns = sa.inspect(connection).get_columns("celery_taskmeta")
    if not any(column["name"] == "result_bytes" for column in columns):
        op.add_column("celery_taskmeta", sa.Column("result_bytes", sa.Integer))
    view.create_views(connection)
    view.execute_file(connection, "history")
    extend_grants(connection, GRANTS)


def downgrade() -> None:
    raise NotImplementedError("the views would lose columns")
