"""Create the history of ended tasks, and mark the results that are in it.

The tables `workertoolbox_queued`, `workertoolbox_untracked` and
`workertoolbox_watermark` stay for monitors and readers of earlier releases. A later
migration creates the views.

Before deployment.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view
from cadasta.workertoolbox.results._database.grants import extend_grants
from cadasta.workertoolbox.results._database.types import Document

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UNUSUAL = "status <> 'SUCCESS'"

instant = sa.DateTime(timezone=True)

COLUMNS: dict[str, Any] = {
    "error_group": sa.Text,
    "archived_at": instant,
    "forgotten": sa.Boolean,
    "result_bytes": sa.Integer,
}

#: Name, columns, and the condition of a partial index.
INDEXES: tuple[tuple[str, list[str], str | None], ...] = (
    ("listed_at", ["listed_at"], None),
    ("name", ["name", "listed_at"], None),
    ("queue", ["queue", "listed_at"], None),
    ("worker", ["worker", "finished_at"], None),
    ("status", ["status", "finished_at"], UNUSUAL),
    ("status_name", ["status", "name", "finished_at"], UNUSUAL),
    ("error_group", ["error_group", "finished_at"], "error_group IS NOT NULL"),
    ("root_id", ["root_id"], "root_id <> id"),
    ("parent_id", ["parent_id"], "parent_id IS NOT NULL"),
    ("group_id", ["group_id"], "group_id IS NOT NULL"),
)

#: Columns of `celery_taskmeta` that an archiver may read through the tables themselves.
TASKMETA = "id, task_id, status, date_done, name, attempts, archived_at, forgotten"

#: A relation, a privilege on it, and a grant for the roles that hold it.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_history TO {role}",
    ),
    (
        "celery_taskmeta",
        "INSERT",
        "GRANT SELECT, UPDATE (forgotten) ON workertoolbox_history TO {role}",
    ),
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT, INSERT, DELETE ON workertoolbox_history TO {role}; "
        "GRANT DELETE ON workertoolbox_task TO {role}; "
        "GRANT SELECT, DELETE ON workertoolbox_attempt TO {role}; "
        f"GRANT SELECT ({TASKMETA}), UPDATE (archived_at, attempts), DELETE "
        "ON celery_taskmeta TO {role}; "
        "GRANT EXECUTE ON FUNCTION workertoolbox_add_day, "
        "workertoolbox_analyze_history TO {role}",
    ),
    (
        "workertoolbox_task",
        "DELETE",
        "GRANT SELECT, DELETE ON workertoolbox_history TO {role}; "
        "GRANT UPDATE (archived_at) ON celery_taskmeta TO {role}",
    ),
)


def upgrade() -> None:
    connection = op.get_bind()
    create_history()
    # From here on, workers wait until the end.
    for name, kind in COLUMNS.items():
        op.add_column("celery_taskmeta", sa.Column(name, kind))
    view.execute_file(connection, "history")
    extend_grants(connection, GRANTS)


def create_history() -> None:
    op.create_table(
        "workertoolbox_history",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("keep", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("args", Document),
        sa.Column("kwargs", Document),
        *(sa.Column(name, sa.Text) for name in ("root_id", "parent_id", "group_id")),
        sa.Column("retries", sa.Integer),
        *(sa.Column(name, instant) for name in ("scheduled_at", "eta", "started_at")),
        sa.Column("finished_at", instant, nullable=False),
        sa.Column("listed_at", instant, nullable=False),
        sa.Column("worker", sa.String(155)),
        sa.Column("result", sa.LargeBinary),
        sa.Column("result_bytes", sa.Integer),
        sa.Column("traceback", sa.Text),
        sa.Column("tracked", sa.Boolean, nullable=False),
        sa.Column("waited_s", sa.Float),
        sa.Column("not_run", sa.Text),
        sa.Column("children", sa.LargeBinary),
        sa.Column("attempts", Document),
        sa.Column("messages", Document),
        sa.Column("error_group", sa.Text),
        sa.Column("forgotten", sa.Boolean, nullable=False),
        sa.Column("published_at", instant),
        sa.Column("replaced", sa.Integer),
        sa.Column("expires", instant),
        sa.Column("origin", sa.Text),
        sa.Column("ignore_result", sa.Boolean),
        sa.Column("seen_at", instant),
        postgresql_partition_by="LIST (keep)",
    )
    for name, columns, rows in INDEXES:
        where = None if rows is None else sa.text(rows)
        op.create_index(
            f"ix_workertoolbox_history_{name}",
            "workertoolbox_history",
            columns,
            postgresql_where=where,
            sqlite_where=where,
        )


def downgrade() -> None:
    raise NotImplementedError("the history would be lost")
