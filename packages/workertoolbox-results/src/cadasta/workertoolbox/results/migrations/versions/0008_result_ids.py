"""Save numbers of the rows in Celery's tables, and make room for more.

PostgreSQL takes a number from a sequence for each row that it tries to insert, even if
the row exists. With this function, a row that exists keeps its number.

The columns for these numbers get eight bytes. That rewrites a table, so only small
tables are changed here; `celery -A … tasks upgrade --widen-ids` changes the others.

Before deployment.
"""

from __future__ import annotations

import logging

from alembic import op
from sqlalchemy.exc import OperationalError

from cadasta.workertoolbox.results._database.result_ids import (
    SMALL_BYTES,
    widen_result_ids,
)

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

#: The function is in PL/pgSQL because that keeps the plan of its query.
FUNCTION = """
CREATE OR REPLACE FUNCTION workertoolbox_result_id(task text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN coalesce(
        (SELECT r.id FROM celery_taskmeta r WHERE r.task_id = task),
        nextval('task_id_sequence')
    );
END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(FUNCTION)
    try:
        with connection.begin_nested():
            # Statements that wait for this lock make others wait.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
            widen_result_ids(connection, max_bytes=SMALL_BYTES)
    except OperationalError as error:
        logging.getLogger(__name__).warning(
            "the ids of results keep four bytes, because a table is locked (%s); run "
            "`celery -A … tasks upgrade --widen-ids` later",
            error.orig,
        )


def downgrade() -> None:
    raise NotImplementedError("the numbers may be larger than four bytes hold")
