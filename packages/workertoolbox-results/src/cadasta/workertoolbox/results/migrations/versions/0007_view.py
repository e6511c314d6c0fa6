"""Have a condition on the view reach the indexes of its tables.

PostgreSQL leaves a condition outside of a UNION whose columns are of different types,
and Celery's are: an id was looked for among all tasks.

Before deployment.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: Replaced, not created anew: roles keep their grants.
VIEW = """
CREATE OR REPLACE VIEW workertoolbox_tasks AS
SELECT
    t.id, t.name,
    coalesce(
        r.status,
        CASE WHEN t.eta > now() THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    t.queue, t.args, t.kwargs, t.root_id, t.parent_id, t.group_id, t.retries,
    t.scheduled_at, t.eta, r.started_at,
    CASE WHEN r.status IN {ready} THEN r.date_done AT TIME ZONE 'UTC' END
        AS finished_at,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN workertoolbox_json(r.result) END AS result,
    r.traceback,
    true AS tracked
FROM workertoolbox_task t LEFT JOIN celery_taskmeta r ON r.task_id = t.id
UNION ALL
SELECT
    r.task_id::text, r.name::text, r.status, r.queue::text,
    workertoolbox_json(r.args), workertoolbox_json(r.kwargs),
    r.root_id, r.parent_id, r.group_id, r.retries,
    NULL, NULL, r.started_at,
    CASE WHEN r.status IN {ready} THEN r.date_done AT TIME ZONE 'UTC' END,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN workertoolbox_json(r.result) END,
    r.traceback,
    false
FROM celery_taskmeta r
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
UNION ALL
SELECT
    p.id, p.name, 'PLANNED', NULL, NULL, NULL, p.root_id, p.parent_id, r.group_id,
    r.retries, NULL, NULL, r.started_at, NULL, r.worker, NULL, r.traceback, true
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
"""

READY = "('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(VIEW.format(ready=READY))


def downgrade() -> None:
    raise NotImplementedError("an id would be looked for among all tasks again")
