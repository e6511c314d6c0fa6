"""Remember ended tasks whose result is deleted, tell runs under one id apart, and show
why a step was never run.

Before deployment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

from cadasta.workertoolbox.results._database import view

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

instant = sa.DateTime(timezone=True)

COLUMNS: dict[str, dict[str, Any]] = {
    "celery_taskmeta": {
        "published_at": instant,
        "waited_s": sa.Float,
        "not_run": sa.Text,
    },
    "workertoolbox_task": {"published_at": instant},
    "workertoolbox_planned": {"group_id": sa.Text},
    "workertoolbox_untracked": {"group_id": sa.Text},
}

#: Name, columns, and the condition of a partial index.
INDEXES: tuple[tuple[str, list[str], str | None], ...] = (
    ("ended_at", ["ended_at"], None),
    ("root_id", ["root_id"], None),
    ("worker", ["worker", "ended_at"], None),
    ("status", ["status", "ended_at"], "status <> 'SUCCESS'"),
    ("status_name", ["status", "name", "ended_at"], "status <> 'SUCCESS'"),
    ("parent_id", ["parent_id"], "parent_id IS NOT NULL"),
    ("group_id", ["group_id"], "group_id IS NOT NULL"),
)

#: A relation, a privilege on it, and a grant for the roles that hold it.
GRANTS = (
    (
        "workertoolbox_tasks",
        "SELECT",
        "GRANT SELECT ON workertoolbox_ended TO {role}",
    ),
    (
        "workertoolbox_task",
        "INSERT",
        "GRANT SELECT ON workertoolbox_ended TO {role}; "
        "GRANT SELECT (task_id, status, date_done, name, queue, retries, root_id, "
        "parent_id, group_id, published_at, not_run), INSERT ON celery_taskmeta "
        "TO {role}; GRANT USAGE ON SEQUENCE task_id_sequence TO {role}",
    ),
    (
        "workertoolbox_task",
        "DELETE",
        "GRANT SELECT, UPDATE (task_id), DELETE ON workertoolbox_ended TO {role}; "
        "GRANT SELECT ON workertoolbox_watermark TO {role}",
    ),
)

ROLES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass(:relation)
AND privilege_type = :privilege AND grantee <> relowner
"""


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
    op.create_table(
        "workertoolbox_ended",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ended_at", instant),
        *(
            sa.Column(name, sa.Text)
            for name in ("name", "queue", "root_id", "parent_id", "group_id")
        ),
        sa.Column("retries", sa.Integer),
        sa.Column("worker", sa.Text),
        sa.Column("started_at", instant),
        sa.Column("published_at", instant),
        sa.Column("waited_s", sa.Float),
        sa.Column("not_run", sa.Text),
    )
    for name, indexed, rows in INDEXES:
        where = None if rows is None else sa.text(rows)
        op.create_index(
            f"ix_workertoolbox_ended_{name}",
            "workertoolbox_ended",
            indexed,
            postgresql_where=where,
            sqlite_where=where,
        )
    connection = op.get_bind()
    dialect = connection.dialect.name
    trigger = Path(view.__file__).with_name(f"ended.{dialect}.sql").read_text("utf-8")
    connection.exec_driver_sql(trigger, execution_options={"no_parameters": True})
    view.create_view(connection)
    if dialect == "postgresql":
        extend_grants()


def extend_grants() -> None:
    """Grant privileges on what is new to roles that have them on what it belongs to."""
    connection = op.get_bind()
    for relation, privilege, grant in GRANTS:
        parameters = {"relation": relation, "privilege": privilege}
        for role in connection.execute(sa.text(ROLES), parameters).scalars().all():
            connection.exec_driver_sql(grant.format(role=role))


def downgrade() -> None:
    raise NotImplementedError("ended tasks would be shown as queued again")
