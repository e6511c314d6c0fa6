"""Celery's own tables, which workers write."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, String, Table, Text

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables.table_parts import (
    NAME_LENGTH,
    RowNumber,
    metadata,
    partial_index,
)
from cadasta.workertoolbox.results._database.types import (
    Document,
    Instant,
    NaiveInstant,
)

_ENDED = f"status IN ({', '.join(map(repr, ENDED))})"

#: Conditions on `celery_taskmeta`, as in its partial indexes: the results of tasks that
#: have not ended, and the ends that are not archived yet. Together, they are the live
#: results.
IS_OPEN = f"NOT ({_ENDED})"
IS_UNARCHIVED = f"archived_at IS NULL AND {_ENDED}"

#: Celery's table of results, extended (`result_extended`), and columns of our own, from
#: `started_at` on, that Celery leaves empty. `date_done` is in UTC, without a zone.
taskmeta = Table(
    "celery_taskmeta",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("task_id", String(NAME_LENGTH), unique=True),
    Column("status", String(50)),
    Column("result", LargeBinary),
    Column("date_done", NaiveInstant, index=True),
    Column("traceback", Text),
    Column("children", LargeBinary),
    Column("name", String(NAME_LENGTH)),
    Column("args", LargeBinary),
    Column("kwargs", LargeBinary),
    Column("worker", String(NAME_LENGTH)),
    Column("retries", Integer),
    Column("queue", String(NAME_LENGTH)),
    Column("stamps", LargeBinary),
    Column("started_at", Instant),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    # When the message of the attempt was published: it identifies the attempt.
    Column("published_at", Instant),
    # Seconds from then, or from the ETA, to the first start of the attempt.
    Column("waited_s", Float),
    # Why a step was never published, such as "not run: export.fetch[…] failed".
    Column("not_run", Text),
    # The attempts that are over, except that of the columns above; see `attempts.py` of
    # the backend.
    Column("attempts", Document),
    # The key of the error group, for a failure and for a retry.
    Column("error_group", Text),
    # When the end was written to the history. A trigger resets it if the row changes
    # again.
    Column("archived_at", Instant),
    # Whether the result was deleted before it was archived.
    Column("forgotten", Boolean),
    # The size of the result, if the history had only its beginning when a late message
    # restored it from there. A trigger resets it if another result is stored.
    Column("result_bytes", Integer),
    # Few indexes, because each slows down every worker that stores a result. A row is
    # in the first one until its end, and in the second one until it is archived.
    partial_index("result_open", "status", "date_done", rows=IS_OPEN),
    partial_index("result_ended", "date_done", rows=IS_UNARCHIVED),
    partial_index("result_forgotten", "archived_at", rows="forgotten"),
    sqlite_autoincrement=True,
)

#: Celery's table of saved groups.
tasksetmeta = Table(
    "celery_tasksetmeta",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("taskset_id", String(NAME_LENGTH), unique=True),
    Column("result", LargeBinary),
    Column("date_done", NaiveInstant, index=True),
    sqlite_autoincrement=True,
)
