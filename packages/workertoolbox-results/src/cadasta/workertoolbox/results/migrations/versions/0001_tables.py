"""Create the tables and the view, or adopt Celery's tables if they exist.

Before deployment.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

document = sa.JSON().with_variant(JSONB(), "postgresql")
instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    adopt(
        "celery_taskmeta",
        "task_id_sequence",
        sa.Column("task_id", sa.String(155), unique=True),
        sa.Column("status", sa.String(50)),
        sa.Column("result", sa.LargeBinary),
        sa.Column("date_done", sa.DateTime),
        sa.Column("traceback", sa.Text),
        sa.Column("children", sa.LargeBinary),
        sa.Column("name", sa.String(155)),
        sa.Column("args", sa.LargeBinary),
        sa.Column("kwargs", sa.LargeBinary),
        sa.Column("worker", sa.String(155)),
        sa.Column("retries", sa.Integer),
        sa.Column("queue", sa.String(155)),
        sa.Column("stamps", sa.LargeBinary),
        sa.Column("started_at", instant),
        sa.Column("root_id", sa.Text),
        sa.Column("parent_id", sa.Text),
        sa.Column("group_id", sa.Text),
    )
    adopt(
        "celery_tasksetmeta",
        "taskset_id_sequence",
        sa.Column("taskset_id", sa.String(155), unique=True),
        sa.Column("result", sa.LargeBinary),
        sa.Column("date_done", sa.DateTime),
    )
    op.create_table(
        "workertoolbox_task",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("args", document),
        sa.Column("kwargs", document),
        sa.Column("root_id", sa.Text),
        sa.Column("parent_id", sa.Text),
        sa.Column("group_id", sa.Text),
        sa.Column("replaced", sa.Integer, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("scheduled_at", instant, nullable=False),
        sa.Column("eta", instant),
        sa.Column("expires", instant),
        sa.Column("origin", sa.Text),
        sa.Column("ignore_result", sa.Boolean, nullable=False),
        sa.Column("seen_at", instant, nullable=False),
    )
    for column in ("scheduled_at", "root_id"):
        op.create_index(
            f"ix_workertoolbox_task_{column}", "workertoolbox_task", [column]
        )
    op.create_table(
        "workertoolbox_attempt",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("replaced", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("retries", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("scheduled_at", instant, nullable=False),
        sa.Column("eta", instant),
        sa.Column("seen_at", instant, nullable=False),
    )
    op.create_table(
        "workertoolbox_quarantine",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
        ),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("content_type", sa.Text),
        sa.Column("content_encoding", sa.Text),
        sa.Column("headers", document, nullable=False),
        sa.Column("routing_key", sa.Text),
        sa.Column("seen_at", instant, nullable=False),
    )
    for statement in VIEW[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement)


def adopt(name: str, sequence: str, *columns: sa.Column[Any]) -> None:
    """Create one of Celery's tables, or add missing columns to an existing one."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(name):
        id = sa.Column("id", sa.Integer, primary_key=True)
        op.create_table(name, id, *columns, sqlite_autoincrement=True)
    known = {column["name"] for column in inspector.get_columns(name)}
    for column in columns:
        if column.name not in known:
            op.add_column(name, sa.Column(column.name, column.type))
    op.create_index(
        f"ix_{name}_date_done", name, ["date_done"], unique=False, if_not_exists=True
    )
    if op.get_bind().dialect.name == "postgresql":
        # Celery takes its ids from this sequence. As the default of the column, it
        # serves other writers too.
        op.execute(f"CREATE SEQUENCE IF NOT EXISTS {sequence}")
        op.alter_column(name, "id", server_default=sa.func.nextval(sequence))


def downgrade() -> None:
    raise NotImplementedError("the first revision cannot be downgraded")


#: Celery stores JSON as bytes. Text that jsonb refuses (NaN, NUL) is shown as a string.
#: Bytes that are not text (a pickle of an older release) are shown as NULL.
DECODE = """
CREATE FUNCTION workertoolbox_json(content bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(content, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    BEGIN
        RETURN to_jsonb(convert_from(content, 'UTF8'));
    EXCEPTION WHEN others THEN
        RETURN NULL;
    END;
END $$
"""

#: The columns are in the order of `tasks` in `_database/tables.py`. The second half are
#: results whose task no monitor has seen.
SELECT = """
CREATE VIEW workertoolbox_tasks AS
SELECT
    t.id, t.name,
    coalesce(
        r.status,
        CASE WHEN t.eta > {now} THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    t.queue, t.args, t.kwargs, t.root_id, t.parent_id, t.group_id, t.retries,
    t.scheduled_at, t.eta, r.started_at,
    CASE WHEN r.status IN {ready} THEN {date_done} END AS finished_at,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN {result} END AS result,
    r.traceback,
    {true} AS tracked
FROM workertoolbox_task t LEFT JOIN celery_taskmeta r ON r.task_id = t.id
UNION ALL
SELECT
    r.task_id, r.name, r.status, r.queue, {args}, {kwargs},
    r.root_id, r.parent_id, r.group_id, r.retries,
    NULL, NULL, r.started_at,
    CASE WHEN r.status IN {ready} THEN {date_done} END,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN {result} END,
    r.traceback,
    {false}
FROM celery_taskmeta r
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
"""

READY = "('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')"


def sqlite_json(column: str) -> str:
    text = f"CAST({column} AS TEXT)"
    return (
        f"CASE WHEN json_valid({text}) THEN {text} "
        f"WHEN substr({column}, 1, 1) <> x'80' THEN json_quote({text}) END"
    )


VIEW = {
    "postgresql": [
        DECODE,
        SELECT.format(
            now="now()",
            ready=READY,
            date_done="r.date_done AT TIME ZONE 'UTC'",
            result="workertoolbox_json(r.result)",
            args="workertoolbox_json(r.args)",
            kwargs="workertoolbox_json(r.kwargs)",
            true="true",
            false="false",
        ),
    ],
    "sqlite": [
        SELECT.format(
            now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
            ready=READY,
            date_done="r.date_done",
            result=sqlite_json("r.result"),
            args=sqlite_json("r.args"),
            kwargs=sqlite_json("r.kwargs"),
            true="1",
            false="0",
        ),
    ],
}
