"""Create indexes by which the tasks of a group are found.

Before deployment. On PostgreSQL each index is created concurrently, as in 0006.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = ("task", "planned", "untracked")

VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        for table in TABLES:
            create_index(table)
        return
    with op.get_context().autocommit_block():
        for table in TABLES:
            name = {"name": f"ix_workertoolbox_{table}_group_id"}
            valid = op.get_bind().execute(sa.text(VALID), name).scalar()
            if valid is False:  # An interrupted upgrade left it.
                op.drop_index(name["name"], postgresql_concurrently=True)
            if not valid:
                create_index(table, postgresql_concurrently=True)


def create_index(table: str, **options: Any) -> None:
    where = sa.text("group_id IS NOT NULL")
    op.create_index(
        f"ix_workertoolbox_{table}_group_id",
        f"workertoolbox_{table}",
        ["group_id"],
        postgresql_where=where,
        sqlite_where=where,
        **options,
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"ix_workertoolbox_{table}_group_id")
