"""The tables of the results database, as the migrations create them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
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

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.types import (
    Document,
    Instant,
    NaiveInstant,
)

metadata = MetaData()

#: Maximum length in characters of a name in Celery's columns.
NAME_LENGTH = 155

_ENDED = f"status IN ({', '.join(map(repr, ENDED))})"

#: Conditions on `celery_taskmeta`, as in its partial indexes: the results of tasks that
#: have not ended, and the ends that are not archived yet. Together, they are the live
#: results.
IS_OPEN = f"NOT ({_ENDED})"
IS_UNARCHIVED = f"archived_at IS NULL AND {_ENDED}"

#: Few tasks have another status, so that an index of them is small.
IS_UNUSUAL = "status <> 'SUCCESS'"

#: An index has the values in the arguments and headers of these tasks.
IS_SMALL = "large IS NULL"

#: Most rows of the rollups belong to no group of errors.
HAS_GROUP = "error_group <> ''"

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
    _partial("result_open", "status", "date_done", rows=IS_OPEN),
    _partial("result_ended", "date_done", rows=IS_UNARCHIVED),
    _partial("result_forgotten", "archived_at", rows="forgotten"),
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

#: A row per live task, with the content of its latest message. `scheduled_at` is the
#: instant when the first message was published, and `seen_at` the instant when a
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
    # The hard time limit of the task, if the latest message has one.
    Column("time_limit_s", Float),
    # The sender, and the headers that users have added; see `TaskRecord`.
    Column("service", Text),
    Column("schedule", Text),
    Column("headers", Document),
    # The task that this one repeats, and what else a rerun needs; see `TaskRecord`.
    Column("rerun_of", Text),
    Column("arguments", Text),
    Column("options", Document),
    Column("digest", Text),
    Index("ix_workertoolbox_task_scheduled_at", "scheduled_at"),
    Index("ix_workertoolbox_task_root_id", "root_id"),
    Index("ix_workertoolbox_task_name", "name", "scheduled_at"),
    Index("ix_workertoolbox_task_queue", "queue", "scheduled_at"),
    Index("ix_workertoolbox_task_seen_at", "seen_at"),
    _partial("task_eta", "eta", rows="eta IS NOT NULL"),
    _partial("task_expires", "expires", rows="expires IS NOT NULL"),
    _partial("task_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
    _partial("task_group_id", "group_id", rows="group_id IS NOT NULL"),
)

#: A row per message of a live task. A task is published again under its id when it is
#: retried (`retries`) and when it replaces itself with another task (`replaced`).
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

#: A row per task that the message of another task announces. The row is deleted when
#: the task is archived.
planned = Table(
    "workertoolbox_planned",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("root_id", Text),
    Column("parent_id", Text),
    Column("seen_at", Instant, nullable=False),
    Column("group_id", Text),
    # The group before the step, if that is the header of a chord.
    Column("header_id", Text),
    Index("ix_workertoolbox_planned_root_id", "root_id"),
    Index("ix_workertoolbox_planned_parent_id", "parent_id"),
    Index("ix_workertoolbox_planned_name", "name", "seen_at"),
    Index("ix_workertoolbox_planned_seen_at", "seen_at"),
    _partial("planned_group_id", "group_id", rows="group_id IS NOT NULL"),
    _partial("planned_header_id", "header_id", rows="header_id IS NOT NULL"),
)

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
    # Of the values in JSON, with their paths. SQLite has nothing like it.
    Index(
        *("ix_workertoolbox_history_json", "args", "kwargs", "headers"),
        postgresql_using="gin",
        postgresql_ops=dict.fromkeys(("args", "kwargs", "headers"), "jsonb_path_ops"),
        postgresql_where=text(IS_SMALL),
    ).ddl_if(dialect="postgresql"),
    _partial("history_large", "listed_at", rows="large"),
    _partial("history_status", "status", "finished_at", rows=IS_UNUSUAL),
    _partial("history_status_name", "status", "name", "finished_at", rows=IS_UNUSUAL),
    _partial(
        *("history_error_group", "error_group", "finished_at"),
        rows="error_group IS NOT NULL",
    ),
    # Most tasks are their own root, and are found by their id.
    _partial("history_root_id", "root_id", rows="root_id <> id"),
    _partial("history_parent_id", "parent_id", rows="parent_id IS NOT NULL"),
    _partial("history_group_id", "group_id", rows="group_id IS NOT NULL"),
    postgresql_partition_by="LIST (keep)",
)

#: A row per value that tasks in the history have on a day. A search for the value opens
#: only the tables of these days. Triggers insert the rows, and those of a deleted day
#: may stay, so a day need not have the value. See `_store/value_days.py`.
day_value = Table(
    "workertoolbox_day_value",
    metadata,
    # `name`, `queue`, `status`, `worker`, `error_group`, or `tracked` with the value
    # `false`.
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("day", Date, primary_key=True, autoincrement=False),
)

#: A row per interval, name, queue, status and error group: the tasks that ended then.
#: Each task is counted once in each tier. See `_history/rollup.py`.
rollup = Table(
    "workertoolbox_rollup",
    metadata,
    # `minute`, `hour` or `day`.
    Column("tier", Text, primary_key=True),
    # The start of the interval.
    Column("at", Instant, primary_key=True),
    # Empty if the name, the queue or the group is not known.
    Column("name", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    # The status of ended tasks, or `RETRY` for failed attempts that were retried.
    Column("status", Text, primary_key=True),
    Column("error_group", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    # In rows with the status `RETRY`, the number of attempts.
    Column("retries", BigInteger, nullable=False),
    Column("redeliveries", BigInteger, nullable=False),
    # Histograms of seconds, in the form of `_history/histogram_text.py`.
    Column("waits", Text, nullable=False),
    Column("runs", Text, nullable=False),
    # From the first publication to the end, of tasks that a worker has run. Earlier
    # releases, and the tasks that they archived, leave it empty.
    Column("totals", Text, nullable=False, server_default=""),
    Index("ix_workertoolbox_rollup_name", "name", "tier", "at"),
    _partial("rollup_error_group", "error_group", "tier", "at", rows=HAS_GROUP),
    # Rows are updated often. With free space on their page, indexes are not updated.
    postgresql_with={"fillfactor": 70},
)

#: A row per interval and queue: the tasks that were queued then, as one sample a minute
#: counts them. The row with an empty queue counts the tasks of all queues. Each
#: interval with a sample has such a row; a queue without a row had no tasks.
backlog = Table(
    "workertoolbox_backlog",
    metadata,
    Column("tier", Text, primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("queue", Text, primary_key=True),
    # Number of samples in which the queue had tasks.
    Column("samples", BigInteger, nullable=False),
    Column("queued_sum", BigInteger, nullable=False),
    Column("queued_max", BigInteger, nullable=False),
    # Tasks with an ETA ahead.
    Column("scheduled_sum", BigInteger, nullable=False),
    Column("scheduled_max", BigInteger, nullable=False),
    # The longest wait in seconds, from when a queued task could run.
    Column("oldest_max_s", Float, nullable=False),
)

#: A row per group of errors. Its type, place and sample are those of the latest error.
error_group = Table(
    "workertoolbox_error_group",
    metadata,
    # The version of the fingerprint, and the fingerprint.
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("type", Text),
    # The function of the service that raised the error, or NULL.
    Column("place", Text),
    # The name of the task of the first error.
    Column("name", Text),
    # NULL if the task of the latest error was erased.
    Column("sample", Text),
    Column("first_task_id", Text),
    Column("last_task_id", Text),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    # Number of errors, including those after which the task was retried.
    Column("count", BigInteger, nullable=False),
    Column("retries", BigInteger, nullable=False),
    # `open`, `resolved` or `ignored`, as a user has decided.
    Column("state", Text, nullable=False),
    Column("resolved_at", Instant),
    Index("ix_workertoolbox_error_group_last_at", "last_at"),
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

#: A row per entry of beat's schedule, and service: what the messages of its runs say.
schedule = Table(
    "workertoolbox_schedule",
    metadata,
    # The name of beat's app, or an empty text.
    Column("service", Text, primary_key=True),
    Column("entry", Text, primary_key=True),
    # The task, the schedule as text, its next run, and the longest time for which beat
    # sleeps; and when a message said so.
    Column("name", Text),
    Column("schedule", Text),
    Column("timezone", Text),
    Column("next_at", Instant),
    Column("max_interval_s", Float),
    Column("described_at", Instant),
    # The last run that was sent, and the process of beat that has sent it.
    Column("task_id", Text),
    Column("due_at", Instant),
    Column("sent_at", Instant),
    Column("late_s", Float),
    Column("origin", Text),
    Column("started_at", Instant),
    # Numbers of all runs since `first_at`, and when the last one was sent.
    Column("count", BigInteger, nullable=False),
    Column("missed", BigInteger, nullable=False),
    Column("doubled", BigInteger, nullable=False),
    Column("missed_at", Instant),
    Column("doubled_at", Instant),
    Column("first_at", Instant, nullable=False),
    # When the last list of beat's entries was sent that has this one. An entry is
    # removed if a later list of the service has others only.
    Column("listed_at", Instant),
    # The latest runs; see `_schedules/runs.py`.
    Column("runs", Document, nullable=False),
)

#: A row per operation: a command that has published tasks again.
operation = Table(
    "workertoolbox_operation",
    metadata,
    Column("id", Text, primary_key=True),
    # `rerun` or `failed-steps`.
    Column("kind", Text, nullable=False),
    # Who began it, such as `ann@host`, and why.
    Column("made_by", Text, nullable=False),
    Column("reason", Text),
    # What was asked for: ids, a query, or the root of a workflow.
    Column("selection", Text, nullable=False),
    # Number of tasks.
    Column("tasks", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    # When no task was left that could be published.
    Column("finished_at", Instant),
    Index("ix_workertoolbox_operation_started_at", "started_at"),
)

#: A row per task of an operation.
operation_task = Table(
    "workertoolbox_operation_task",
    metadata,
    Column("operation_id", Text, primary_key=True),
    # The task that is repeated, and the id under which it is published.
    Column("task_id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("name", Text),
    Column("new_id", Text, nullable=False),
    # `waiting`, `publishing`, `published` or `refused`; see `_store/operations.py`.
    Column("state", Text, nullable=False),
    # Why it was refused, or what the broker answered.
    Column("note", Text),
    Column("changed_at", Instant, nullable=False),
    Index("ix_workertoolbox_operation_task_task_id", "task_id"),
)

#: A row per monitor that runs or has run in the last day: how far it has read its
#: queue. See `_history/horizon.py`.
monitor = Table(
    "workertoolbox_monitor",
    metadata,
    Column("id", Text, primary_key=True),
    # All messages that were published before are stored. NULL until that is known.
    Column("read_until", Instant),
    Column("reported_at", Instant, nullable=False),
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

#: A row per finished task of a header, until the body starts; those of a header with a
#: failed task stay as long as the chord. A header may contain the same id twice, at two
#: positions.
chord_part = Table(
    "workertoolbox_chord_part",
    metadata,
    Column("chord_id", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("result", LargeBinary, nullable=False),
)
