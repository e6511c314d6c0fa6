"""The tables of tasks that have ended, which the archiver writes."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from cadasta.workertoolbox.results._database.tables.table_parts import (
    NAME_LENGTH,
    metadata,
    partial_index,
)
from cadasta.workertoolbox.results._database.types import Document, Instant

#: Few tasks have another status, so that an index of them is small.
IS_UNUSUAL = "status <> 'SUCCESS'"

#: The length of a run; PostgreSQL cannot subtract infinite times.
RUN = (
    "CASE WHEN isfinite(started_at) AND isfinite(finished_at) "
    "THEN finished_at - started_at END"
)

#: Seconds from which a run is in the index of long ones. An entry takes microseconds,
#: which do not count beside such a run.
LONG_S = 10

#: Few tasks are untracked. Without an index, a search would read all tasks of a day.
IS_UNTRACKED = "NOT tracked"

#: An index has the values in the arguments and headers of these tasks.
IS_SMALL = "large IS NULL"

#: A row per ended task, with its message, result and attempts. On PostgreSQL the table
#: is partitioned by `keep`, and then by `day`.
history = Table(
    "workertoolbox_history",
    metadata,
    Column("id", Text, primary_key=True),
    # The retention class: `default`, a status, or the name of a task.
    Column("keep", Text, primary_key=True),
    # The day of the end (UTC), or the nearest one that has a partition.
    Column("day", Date, primary_key=True, autoincrement=False),
    Column("name", Text),
    Column("status", String, nullable=False),
    Column("queue", Text),
    Column("args", Document),
    Column("kwargs", Document),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    Column("retries", Integer),
    Column("scheduled_at", Instant),
    Column("eta", Instant),
    Column("started_at", Instant),
    Column("finished_at", Instant, nullable=False),
    # The sort key of lists: `scheduled_at`, or else `finished_at`.
    Column("listed_at", Instant, nullable=False),
    Column("worker", String(NAME_LENGTH)),
    # Encoded as in `celery_taskmeta`. Of a result over the limit, the beginning.
    Column("result", LargeBinary),
    # Its size in bytes, if it was longer than the limit.
    Column("result_bytes", Integer),
    Column("traceback", Text),
    Column("tracked", Boolean, nullable=False),
    Column("waited_s", Float),
    Column("not_run", Text),
    Column("children", LargeBinary),
    # The attempts before the last one, and the messages if there were several.
    Column("attempts", Document),
    Column("messages", Document),
    Column("error_group", Text),
    # Whether `forget()` was called, so that only `TaskStore` shows the result.
    Column("forgotten", Boolean, nullable=False),
    # As in `workertoolbox_task`; NULL if no monitor has seen the message.
    Column("published_at", Instant),
    Column("replaced", Integer),
    Column("expires", Instant),
    Column("origin", Text),
    Column("ignore_result", Boolean),
    Column("seen_at", Instant),
    Column("service", Text),
    Column("schedule", Text),
    Column("headers", Document),
    Column("rerun_of", Text),
    Column("arguments", Text),
    # Of a success, without the steps after it, which it has published.
    Column("options", Document),
    Column("digest", Text),
    # True if arguments and headers have so many values that an index of them would
    # take much time and space; otherwise NULL.
    Column("large", Boolean),
    Index("ix_workertoolbox_history_listed_at", "listed_at"),
    Index("ix_workertoolbox_history_name", "name", "listed_at"),
    Index("ix_workertoolbox_history_queue", "queue", "listed_at"),
    Index("ix_workertoolbox_history_worker", "worker", "finished_at"),
    # Finds rows by any value in these documents. SQLite has no such index.
    Index(
        *("ix_workertoolbox_history_json", "args", "kwargs", "headers"),
        postgresql_using="gin",
        postgresql_ops=dict.fromkeys(("args", "kwargs", "headers"), "jsonb_path_ops"),
        postgresql_where=text(IS_SMALL),
    ).ddl_if(dialect="postgresql"),
    partial_index("history_large", "listed_at", rows="large"),
    partial_index("history_untracked", "listed_at", rows=IS_UNTRACKED),
    partial_index("history_status", "status", "finished_at", rows=IS_UNUSUAL),
    partial_index(
        *("history_status_name", "status", "name", "finished_at"), rows=IS_UNUSUAL
    ),
    partial_index(
        *("history_error_group", "error_group", "finished_at"),
        rows="error_group IS NOT NULL",
    ),
    # Most tasks are their own root, and are found by their id.
    partial_index("history_root_id", "root_id", rows="root_id <> id"),
    partial_index("history_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
    partial_index("history_group_id", "group_id", rows="group_id IS NOT NULL"),
    postgresql_partition_by="LIST (keep)",
)

# Only searches for long runs sort by time in this way: see
# `_store/search/archived_search.py`. SQLite stores times as text.
Index(
    "ix_workertoolbox_history_long",
    history.c.listed_at.desc().nulls_last(),
    postgresql_where=text(f"{RUN} >= interval '{LONG_S} s'"),
).ddl_if(dialect="postgresql")

#: A row per retention class, as the last archiver applied them; see
#: `_history/retention.py`.
retention = Table(
    "workertoolbox_retention",
    metadata,
    Column("keep", Text, primary_key=True),
    # NULL if its tasks are kept without limit.
    Column("days", Integer),
    Column("applied_at", Instant, nullable=False),
)

#: A row per value that tasks in the history have on a day. A search for the value opens
#: only the tables of these days. Triggers insert the rows, and those of a deleted day
#: may stay, so a day need not have the value. See `_store/rows/value_days.py`.
day_value = Table(
    "workertoolbox_day_value",
    metadata,
    # `name`, `queue`, `status`, `worker`, `error_group`, `tracked` with the value
    # `false`, or `status_name`: a status but `SUCCESS`, a space, and a name.
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("day", Date, primary_key=True, autoincrement=False),
)
