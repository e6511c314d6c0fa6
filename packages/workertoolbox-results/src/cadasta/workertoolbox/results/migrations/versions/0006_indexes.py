"""Create indexes for the queries of `TaskStore`.

Before deployment. On PostgreSQL each index is created concurrently, while the tables
are read and written, and outside a transaction. After an interruption, the next upgrade
creates the remaining ones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: Name, table, columns, and the condition of a partial index.
INDEXES = (
    ("task_name", "workertoolbox_task", ("name", "scheduled_at"), None),
    ("task_queue", "workertoolbox_task", ("queue", "scheduled_at"), None),
    ("task_seen_at", "workertoolbox_task", ("seen_at",), None),
    (
        "task_parent_id",
        "workertoolbox_task",
        ("parent_id",),
        "parent_id IS NOT NULL",
    ),
    ("planned_name", "workertoolbox_planned", ("name", "seen_at"), None),
    ("planned_seen_at", "workertoolbox_planned", ("seen_at",), None),
    ("planned_parent_id", "workertoolbox_planned", ("parent_id",), None),
    ("result_worker", "celery_taskmeta", ("worker", "date_done"), None),
    (
        "result_status",
        "celery_taskmeta",
        ("status", "date_done"),
        "status <> 'SUCCESS'",
    ),
    (
        "result_status_name",
        "celery_taskmeta",
        ("status", "name", "date_done"),
        "status <> 'SUCCESS'",
    ),
)

VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            for index in INDEXES:
                create_concurrently(*index)
        return
    for name, table, columns, rows in INDEXES:
        where = None if rows is None else sa.text(rows)
        op.create_index(f"ix_workertoolbox_{name}", table, columns, sqlite_where=where)


def create_concurrently(
    name: str, table: str, columns: tuple[str, ...], rows: str | None
) -> None:
    """Create an index, and drop it first if an interrupted upgrade left it invalid."""
    name = f"ix_workertoolbox_{name}"
    connection = op.get_bind()
    valid = connection.execute(sa.text(VALID), {"name": name}).scalar()
    if valid:
        return
    if valid is False:
        op.drop_index(name, table, postgresql_concurrently=True)
    where = None if rows is None else sa.text(rows)
    op.create_index(
        name, table, columns, postgresql_concurrently=True, postgresql_where=where
    )


def downgrade() -> None:
    for name, table, _, _ in INDEXES:
        op.drop_index(f"ix_workertoolbox_{name}", table)
