"""Let conditions on the view use the indexes of its tables.

PostgreSQL does not push a condition into a UNION whose columns have different types, as
those of Celery's tables and ours do: a query for one id read all tasks.

Before deployment.
"""

from __future__ import annotations

from alembic import op

from cadasta.workertoolbox.results._database.view import create_view

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The file of the view is its current definition. When a later migration changes it
    # and calls this function, this migration has nothing left to do.
    if op.get_bind().dialect.name == "postgresql":
        create_view(op.get_bind())


def downgrade() -> None:
    raise NotImplementedError("a query for one id would read all tasks again")
