"""The tables of the results database, as migrations leave them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from cadasta.workertoolbox.results._database.types import Document, Instant

metadata = MetaData()

#: Characters of a name in Celery's own columns.
NAME_LENGTH = 155


def _partial(name: str, *columns: str, rows: str) -> Index:
    """Return an index of some rows only, which others cost nothing."""
    where = text(rows)
    return Index(
        f"ix_workertoolbox_{name}",
        *columns,
        postgresql_where=where,
        sqlite_where=where,
    )


#: Celery's own table of results in its extended shape, with columns of ours that
#: Celery does not know and leaves empty. `date_done` is UTC without saying so.
taskmeta = Table(
    "celery_taskmeta",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", String(155), unique=True),
    Column("status", String(50)),
    Column("result", LargeBinary),
    Column("date_done", DateTime, index=True),
    Column("traceback", Text),
    Column("children", LargeBinary),
    Column("name", String(155)),
    Column("args", LargeBinary),
    Column("kwargs", LargeBinary),
    Column("worker", String(155)),
    Column("retries", Integer),
    Column("queue", String(155)),
    Column("stamps", LargeBinary),
    Column("started_at", Instant),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    # Few, since each costs every worker that stores a result.
    Index("ix_workertoolbox_result_worker", "worker", "date_done"),
    _partial("result_status", "status", "date_done", rows="status <> 'SUCCESS'"),
    _partial(
        "result_status_name", "status", "name", "date_done", rows="status <> 'SUCCESS'"
    ),
    sqlite_autoincrement=True,
)

#: Celery's own table of groups.
tasksetmeta = Table(
    "celery_tasksetmeta",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("taskset_id", String(155), unique=True),
    Column("result", LargeBinary),
    Column("date_done", DateTime, index=True),
    sqlite_autoincrement=True,
)

#: A row per task: what its latest message says, and when its first was published.
task = Table(
    "workertoolbox_task",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("args", Document),
    Column("kwargs", Document),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    Column("replaced", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("scheduled_at", Instant, nullable=False),
    Column("eta", Instant),
    Column("expires", Instant),
    Column("origin", Text),
    Column("ignore_result", Boolean, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Index("ix_workertoolbox_task_scheduled_at", "scheduled_at"),
    Index("ix_workertoolbox_task_root_id", "root_id"),
    Index("ix_workertoolbox_task_name", "name", "scheduled_at"),
    Index("ix_workertoolbox_task_queue", "queue", "scheduled_at"),
    Index("ix_workertoolbox_task_seen_at", "seen_at"),
    _partial("task_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
)

#: A row per message: a task is published anew when it is retried (`retries`) and
#: when it replaces itself by another (`replaced`), under the same id.
attempt = Table(
    "workertoolbox_attempt",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("replaced", Integer, primary_key=True, autoincrement=False),
    Column("retries", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("scheduled_at", Instant, nullable=False),
    Column("eta", Instant),
    Column("seen_at", Instant, nullable=False),
)

#: A row per task that a message says is still to come; it stays for a while when the
#: task comes.
planned = Table(
    "workertoolbox_planned",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("seen_at", Instant, nullable=False),
    Index("ix_workertoolbox_planned_root_id", "root_id"),
    Index("ix_workertoolbox_planned_parent_id", "parent_id"),
    Index("ix_workertoolbox_planned_name", "name", "seen_at"),
    Index("ix_workertoolbox_planned_seen_at", "seen_at"),
)

#: A row per task that a monitor has seen up to the watermark, and that has no result.
#: One that has got a result since stays for a while.
queued = Table(
    "workertoolbox_queued",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("scheduled_at", Instant, nullable=False),
    # The ETA, where there is one.
    Column("due_at", Instant, nullable=False),
    Index("ix_workertoolbox_queued_scheduled_at", "scheduled_at"),
    Index("ix_workertoolbox_queued_due_at", "due_at"),
)

#: A row per result that is stored up to the watermark, and whose task no monitor has
#: seen. One whose message has come since stays for a while.
untracked = Table(
    "workertoolbox_untracked",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("date_done", DateTime, nullable=False),
    Column("name", Text),
    Column("queue", Text),
    Column("root_id", Text),
    Column("parent_id", Text),
    Index("ix_workertoolbox_untracked_date_done", "date_done"),
    Index("ix_workertoolbox_untracked_name", "name", "date_done"),
    Index("ix_workertoolbox_untracked_queue", "queue", "date_done"),
    Index("ix_workertoolbox_untracked_root_id", "root_id"),
    Index("ix_workertoolbox_untracked_parent_id", "parent_id"),
)

#: One row: up to which `seen_at` of a task `workertoolbox_queued` is complete, and up
#: to which `date_done` of a result `workertoolbox_untracked`.
watermark = Table(
    "workertoolbox_watermark",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seen_at", Instant, nullable=False),
    Column("date_done", DateTime, nullable=False),
)

#: A row per message that could not be read, as it came.
quarantine = Table(
    "workertoolbox_quarantine",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # SHA-256 of the message: one that comes twice is the same.
    Column("digest", Text, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("content_type", Text),
    Column("content_encoding", Text),
    Column("headers", Document, nullable=False),
    Column("routing_key", Text),
    Column("seen_at", Instant, nullable=False),
)

#: A row per chord of our backend, by the id of the group that its header is.
chord = Table(
    "workertoolbox_chord",
    metadata,
    Column("id", Text, primary_key=True),
    # The results of the header, encoded, where groups are among them.
    Column("header", LargeBinary),
    # Tasks in the header, once all are published, and those added by `add_to_chord`.
    Column("size", Integer),
    Column("added", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("starters", Integer, nullable=False),
    Column("started_at", Instant),
    Column("touched_at", Instant, nullable=False),
)

#: A row per task of a header that is done, until the body starts. The same id may
#: stand in a header twice.
chord_part = Table(
    "workertoolbox_chord_part",
    metadata,
    Column("chord_id", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("result", LargeBinary, nullable=False),
)

#: `workertoolbox_tasks`: a view that joins a task and its result. A status is
#: Celery's, or `QUEUED`, `SCHEDULED` or `PLANNED` before there is one.
tasks = Table(
    "workertoolbox_tasks",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("name", Text),
    Column("status", Text),
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
    Column("finished_at", Instant),
    Column("worker", Text),
    Column("result", Document),
    Column("traceback", Text),
    Column("tracked", Boolean),
)
