"""Create indexes for the archiver, and the first days of the history.

Before deployment. On PostgreSQL each index is created concurrently, while the tables
are read and written, and outside a transaction. After an interruption, the next upgrade
creates the remaining ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

ENDED = "status IN ('FAILURE', 'REVOKED', 'SUCCESS', 'IGNORED', 'REJECTED', 'LOST')"

#: Table, name, columns, and the condition of a partial index.
INDEXES: tuple[tuple[str, str, list[str], str], ...] = (
    ("celery_taskmeta", "result_open", ["status", "date_done"], f"NOT ({ENDED})"),
    (
        "celery_taskmeta",
        "result_ended",
        ["date_done"],
        f"archived_at IS NULL AND {ENDED}",
    ),
    ("celery_taskmeta", "result_forgotten", ["archived_at"], "forgotten"),
    ("workertoolbox_task", "task_eta", ["eta"], "eta IS NOT NULL"),
)

#: Days for which tables are created; the archiver creates those that follow.
DAYS_BEFORE, DAYS_AFTER = 1, 7

VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            create_days()
            for index in INDEXES:
                create_concurrently(*index)
        return
    for table, name, columns, rows in INDEXES:
        op.create_index(
            f"ix_workertoolbox_{name}", table, columns, sqlite_where=sa.text(rows)
        )


def create_days() -> None:
    # Not in 0012, which locks the tables of workers and monitors until it is committed.
    today = datetime.now(UTC).date()
    add_day = sa.text("SELECT workertoolbox_add_day('default', :day)")
    for number in range(-DAYS_BEFORE, DAYS_AFTER + 1):
        op.get_bind().execute(add_day, {"day": today + timedelta(days=number)})


def create_concurrently(table: str, name: str, columns: list[str], rows: str) -> None:
    """Create an index, and drop it first if an interrupted upgrade left it invalid."""
    name = f"ix_workertoolbox_{name}"
    connection = op.get_bind()
    valid = connection.execute(sa.text(VALID), {"name": name}).scalar()
    if valid:
        return
    if valid is False:
        op.drop_index(name, table, postgresql_concurrently=True)
    op.create_index(
        name,
        table,
        columns,
        postgresql_concurrently=True,
        postgresql_where=sa.text(rows),
    )


def downgrade() -> None:
    for table, name, _, _ in INDEXES:
        op.drop_index(f"ix_workertoolbox_{name}", table)
