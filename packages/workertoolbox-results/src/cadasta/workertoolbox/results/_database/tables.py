"""The tables and the view of the results database, as the migrations create them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from cadasta.workertoolbox.results._database.types import (
    Document,
    Instant,
    NaiveInstant,
)

metadata = MetaData()

#: Maximum length in characters of a name in Celery's columns.
NAME_LENGTH = 155

#: Few tasks have another status, so that an index of them is small.
_UNUSUAL = "status <> 'SUCCESS'"

#: Only `INTEGER` numbers the rows of a table in SQLite; it has eight bytes there.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")


def _partial(name: str, *columns: str, rows: str) -> Index:
    """Return an index of some rows only; it does not slow down writing other rows."""
    where = text(rows)
    name = f"ix_workertoolbox_{name}"
    return Index(name, *columns, postgresql_where=where, sqlite_where=where)


#: Celery's table of results, extended (`result_extended`), and columns of our own, from
#: `started_at` on, that Celery leaves empty. `date_done` is in UTC, without a zone.
taskmeta = Table(
    "celery_taskmeta",
    metadata,
    Column("id", _RowNumber, primary_key=True),
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
    # Few indexes, because each slows down every worker that stores a result.
    Index("ix_workertoolbox_result_worker", "worker", "date_done"),
    _partial("result_status", "status", "date_done", rows=_UNUSUAL),
    _partial("result_status_name", "status", "name", "date_done", rows=_UNUSUAL),
    sqlite_autoincrement=True,
)

#: Celery's table of saved groups.
tasksetmeta = Table(
    "celery_tasksetmeta",
    metadata,
    Column("id", _RowNumber, primary_key=True),
    Column("taskset_id", String(NAME_LENGTH), unique=True),
    Column("result", LargeBinary),
    Column("date_done", NaiveInstant, index=True),
    sqlite_autoincrement=True,
)

#: A row per task with the content of its latest message. `scheduled_at` is the instant
#: at which the first message was published, and `seen_at` the instant at which a
#: monitor saw the message that was stored first.
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
    # When the latest message was published, if the message says so.
    Column("published_at", Instant),
    Index("ix_workertoolbox_task_scheduled_at", "scheduled_at"),
    Index("ix_workertoolbox_task_root_id", "root_id"),
    Index("ix_workertoolbox_task_name", "name", "scheduled_at"),
    Index("ix_workertoolbox_task_queue", "queue", "scheduled_at"),
    Index("ix_workertoolbox_task_seen_at", "seen_at"),
    _partial("task_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
    _partial("task_group_id", "group_id", rows="group_id IS NOT NULL"),
)

#: A row per message. A task is published again under the same id when it is retried
#: (`retries`) and when it replaces itself with another task (`replaced`).
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

#: A row per task that the message of another task announces. The row is deleted a while
#: after the task's own message or its result has arrived.
planned = Table(
    "workertoolbox_planned",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("seen_at", Instant, nullable=False),
    Column("group_id", Text),
    Index("ix_workertoolbox_planned_root_id", "root_id"),
    Index("ix_workertoolbox_planned_parent_id", "parent_id"),
    Index("ix_workertoolbox_planned_name", "name", "seen_at"),
    Index("ix_workertoolbox_planned_seen_at", "seen_at"),
    _partial("planned_group_id", "group_id", rows="group_id IS NOT NULL"),
)

#: A row per queued task: its message was seen up to the watermark, and it has no
#: result. The row is deleted a while after a result has arrived.
queued = Table(
    "workertoolbox_queued",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("scheduled_at", Instant, nullable=False),
    # The later of `scheduled_at` and the ETA.
    Column("due_at", Instant, nullable=False),
    Index("ix_workertoolbox_queued_scheduled_at", "scheduled_at"),
    Index("ix_workertoolbox_queued_due_at", "due_at"),
)

#: A row per untracked task: its result was stored up to the watermark, and no monitor
#: has seen its message. The row is deleted a while after the message has arrived.
untracked = Table(
    "workertoolbox_untracked",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("date_done", NaiveInstant, nullable=False),
    Column("name", Text),
    Column("queue", Text),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    Index("ix_workertoolbox_untracked_date_done", "date_done"),
    Index("ix_workertoolbox_untracked_name", "name", "date_done"),
    Index("ix_workertoolbox_untracked_queue", "queue", "date_done"),
    Index("ix_workertoolbox_untracked_root_id", "root_id"),
    Index("ix_workertoolbox_untracked_parent_id", "parent_id"),
    _partial("untracked_group_id", "group_id", rows="group_id IS NOT NULL"),
)

#: A row per task that has ended and whose result was deleted, by `forget()`, by
#: `result_expires` or by anybody else: a trigger on `celery_taskmeta` inserts it.
ended = Table(
    "workertoolbox_ended",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("ended_at", Instant),
    Column("name", Text),
    Column("queue", Text),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("group_id", Text),
    Column("retries", Integer),
    Column("worker", Text),
    Column("started_at", Instant),
    Column("published_at", Instant),
    Column("waited_s", Float),
    Column("not_run", Text),
    Index("ix_workertoolbox_ended_ended_at", "ended_at"),
    Index("ix_workertoolbox_ended_root_id", "root_id"),
    Index("ix_workertoolbox_ended_worker", "worker", "ended_at"),
    _partial("ended_status", "status", "ended_at", rows=_UNUSUAL),
    _partial("ended_status_name", "status", "name", "ended_at", rows=_UNUSUAL),
    _partial("ended_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
    _partial("ended_group_id", "group_id", rows="group_id IS NOT NULL"),
)

#: One row with the two watermarks: `workertoolbox_queued` is complete for tasks up to
#: `seen_at`, and `workertoolbox_untracked` for results up to `date_done`.
watermark = Table(
    "workertoolbox_watermark",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seen_at", Instant, nullable=False),
    Column("date_done", NaiveInstant, nullable=False),
)

#: A row per message that could not be read, unchanged.
quarantine = Table(
    "workertoolbox_quarantine",
    metadata,
    Column("id", _RowNumber, primary_key=True),
    # SHA-256 of the message, so that a message is stored once if it is delivered twice.
    Column("digest", Text, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("content_type", Text),
    Column("content_encoding", Text),
    Column("headers", Document, nullable=False),
    Column("routing_key", Text),
    Column("seen_at", Instant, nullable=False),
)

#: A row per chord. `id` is the id of the group that is the header of the chord.
chord = Table(
    "workertoolbox_chord",
    metadata,
    Column("id", Text, primary_key=True),
    # The encoded results of the header, if it contains groups.
    Column("header", LargeBinary),
    # Number of tasks in the header. It is known when all are published.
    Column("size", Integer),
    # Number of tasks that `add_to_chord` added.
    Column("added", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("starters", Integer, nullable=False),
    Column("started_at", Instant),
    Column("touched_at", Instant, nullable=False),
)

#: A row per finished task of a header, until the body starts. A header may contain the
#: same id twice, at two positions.
chord_part = Table(
    "workertoolbox_chord_part",
    metadata,
    Column("chord_id", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("result", LargeBinary, nullable=False),
)

#: A view that joins tasks with their results. `status` is that of the result, or
#: `QUEUED`, `SCHEDULED` or `PLANNED` if there is none. `view.*.sql` defines it.
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
    Column("waited_s", Float),
)
